package sdk_test

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// A monitor is the engine's side of the wire. It keeps what a program sends
// and answers as a provider would that gives every resource the ID "<name>-id".
type monitor struct {
	pulumirpc.UnimplementedResourceMonitorServer
	pulumirpc.UnimplementedEngineServer

	// outputs are added to what comes back for the resource of that name, or
	// for the function of that token.
	outputs map[string]map[string]any

	mu         sync.Mutex
	registered map[string]*pulumirpc.RegisterResourceRequest // by logical name
	read       map[string]*pulumirpc.ReadResourceRequest     // by logical name
	invoked    map[string]*pulumirpc.ResourceInvokeRequest   // by token
	exports    map[string]any
}

// run runs the program against the monitor and gives the program's error.
func (m *monitor) run(t *testing.T, config map[string]string, program pulumi.RunFunc) error {
	t.Helper()
	m.registered = map[string]*pulumirpc.RegisterResourceRequest{}
	m.read = map[string]*pulumirpc.ReadResourceRequest{}
	m.invoked = map[string]*pulumirpc.ResourceInvokeRequest{}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pulumirpc.RegisterResourceMonitorServer(server, m)
	pulumirpc.RegisterEngineServer(server, m)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	addr := listener.Addr().String()
	ctx, err := pulumi.NewContext(t.Context(), pulumi.RunInfo{
		Project: "test", Stack: "test", Config: config, MonitorAddr: addr, EngineAddr: addr,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ctx.Close() }()
	return pulumi.RunWithContext(ctx, program)
}

func (m *monitor) GetDeploymentInfo(context.Context, *emptypb.Empty) (*pulumirpc.DeploymentInfo, error) {
	return &pulumirpc.DeploymentInfo{SupportedFeatures: []pulumirpc.ResourceMonitorFeature{
		pulumirpc.ResourceMonitorFeature_RESOURCE_MONITOR_FEATURE_SECRETS,
		pulumirpc.ResourceMonitorFeature_RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
		pulumirpc.ResourceMonitorFeature_RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
	}}, nil
}

func (m *monitor) RegisterResource(_ context.Context, r *pulumirpc.RegisterResourceRequest) (*pulumirpc.RegisterResourceResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.registered[r.GetName()] = r
	object, err := m.answer(r.GetName(), r.GetObject())
	if err != nil {
		return nil, err
	}
	return &pulumirpc.RegisterResourceResponse{
		Urn: urn(r.GetType(), r.GetName()), Id: r.GetName() + "-id", Object: object,
	}, nil
}

func (m *monitor) RegisterResourceOutputs(_ context.Context, r *pulumirpc.RegisterResourceOutputsRequest) (*emptypb.Empty, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exports = r.GetOutputs().AsMap()
	return &emptypb.Empty{}, nil
}

func (m *monitor) ReadResource(_ context.Context, r *pulumirpc.ReadResourceRequest) (*pulumirpc.ReadResourceResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read[r.GetName()] = r
	object, err := m.answer(r.GetName(), r.GetProperties())
	if err != nil {
		return nil, err
	}
	return &pulumirpc.ReadResourceResponse{Urn: urn(r.GetType(), r.GetName()), Properties: object}, nil
}

func (m *monitor) Invoke(_ context.Context, r *pulumirpc.ResourceInvokeRequest) (*pulumirpc.ResourceInvokeResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.invoked[r.GetTok()] = r
	object, err := m.answer(r.GetTok(), r.GetArgs())
	if err != nil {
		return nil, err
	}
	return &pulumirpc.ResourceInvokeResponse{Return: object}, nil
}

func (m *monitor) answer(key string, inputs *structpb.Struct) (*structpb.Struct, error) {
	object := inputs.AsMap()
	for name, value := range m.outputs[key] {
		object[name] = value
	}
	return structpb.NewStruct(object)
}

func urn(typ, name string) string { return "urn:pulumi:test::test::" + typ + "::" + name }

// wire is JSON of what was sent, with (secret) in front of a secret string, so
// that an expectation reads on one line.
func wire(t *testing.T, object *structpb.Struct) string {
	t.Helper()
	text, err := json.Marshal(marked(object.AsMap()))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func marked(value any) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = marked(v[i])
		}
	case map[string]any:
		// The signature key of a special value, and the one that says "secret".
		if v["4dabf18193072939515e22adb298388d"] == "1b47061264138c4ac30d75fd1eb44270" {
			s, _ := v["value"].(string)
			return "(secret)" + s
		}
		for k := range v {
			v[k] = marked(v[k])
		}
	}
	return value
}

// compact takes the line breaks and indentation out of an expectation.
func compact(t *testing.T, text string) string {
	t.Helper()
	var value any
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	out, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
