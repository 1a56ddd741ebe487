package monitor

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// maxMessage is the engine's own limit of a message, in bytes.
const maxMessage = 400 << 20

const stackType = "pulumi:pulumi:Stack"

// server is the resource monitor.
type server struct {
	pulumirpc.UnimplementedResourceMonitorServer
	program   *Program
	log       io.Writer
	callbacks *callbacks

	mu              sync.Mutex // guards what follows
	resources       []*Resource
	byURN           map[string]*Resource
	stack           *Resource
	stackTransforms []*pulumirpc.Callback
	faults          []error  // what Create and Check found
	errors          []string // messages of severity error
	warnings        []string
}

func newServer(p *Program, log io.Writer) *server {
	return &server{program: p, log: log, callbacks: newCallbacks(), byURN: map[string]*Resource{}}
}

// features are those that programs of this project use, and those whose
// request fields make no difference where nothing is kept.
var features = map[string]pulumirpc.ResourceMonitorFeature{
	"secrets":            pulumirpc.ResourceMonitorFeature_RESOURCE_MONITOR_FEATURE_SECRETS,
	"resourceReferences": pulumirpc.ResourceMonitorFeature_RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
	"outputValues":       pulumirpc.ResourceMonitorFeature_RESOURCE_MONITOR_FEATURE_OUTPUT_VALUES,
	"aliasSpecs":         pulumirpc.ResourceMonitorFeature_RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
	"deletedWith":        pulumirpc.ResourceMonitorFeature_RESOURCE_MONITOR_FEATURE_DELETED_WITH,
	"replaceWith":        pulumirpc.ResourceMonitorFeature_RESOURCE_MONITOR_FEATURE_REPLACE_WITH,
	"transforms":         pulumirpc.ResourceMonitorFeature_RESOURCE_MONITOR_FEATURE_TRANSFORMS,
	"parameterization":   pulumirpc.ResourceMonitorFeature_RESOURCE_MONITOR_FEATURE_PARAMETERIZATION,
}

func (s *server) SupportsFeature(_ context.Context, req *pulumirpc.SupportsFeatureRequest) (*pulumirpc.SupportsFeatureResponse, error) {
	_, has := features[req.GetId()]
	return &pulumirpc.SupportsFeatureResponse{HasSupport: has}, nil
}

func (s *server) GetDeploymentInfo(context.Context, *emptypb.Empty) (*pulumirpc.DeploymentInfo, error) {
	c := s.program.Config
	return &pulumirpc.DeploymentInfo{
		Project:           c.Project,
		Stack:             c.Stack,
		Organization:      "organization",
		Config:            c.Values,
		ConfigSecretKeys:  c.Secrets,
		Parallel:          1<<31 - 1,
		SupportedFeatures: slices.Sorted(maps.Values(features)),
	}, nil
}

func (s *server) RegisterStackTransform(_ context.Context, cb *pulumirpc.Callback) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stackTransforms = append(s.stackTransforms, cb)
	return &emptypb.Empty{}, nil
}

func (s *server) RegisterPackage(_ context.Context, req *pulumirpc.RegisterPackageRequest) (*pulumirpc.RegisterPackageResponse, error) {
	return &pulumirpc.RegisterPackageResponse{Ref: uuid.NewSHA1(uuid.NameSpaceURL,
		[]byte(req.GetName()+"@"+req.GetVersion())).String()}, nil
}

func (s *server) SignalAndWaitForShutdown(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (s *server) ReadResource(_ context.Context, req *pulumirpc.ReadResourceRequest) (*pulumirpc.ReadResourceResponse, error) {
	return nil, status.Errorf(codes.Unimplemented, "the program reads %s %q (%s): the local way makes a realm and can't read one",
		req.GetType(), req.GetName(), req.GetId())
}

func (s *server) Call(_ context.Context, req *pulumirpc.ResourceCallRequest) (*pulumirpc.CallResponse, error) {
	return nil, status.Errorf(codes.Unimplemented, "the program calls the method %s: the local way has no methods", req.GetTok())
}

func (s *server) Invoke(_ context.Context, req *pulumirpc.ResourceInvokeRequest) (*pulumirpc.ResourceInvokeResponse, error) {
	args, err := unmarshal(req.GetArgs())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", req.GetTok(), err)
	}
	if s.program.Invoke == nil {
		return nil, status.Errorf(codes.Unimplemented, "%s: unknown function", req.GetTok())
	}
	s.mu.Lock()
	registered := slices.Clone(s.resources)
	s.mu.Unlock()
	result, err := s.program.Invoke(req.GetTok(), args, registered)
	if err != nil {
		return nil, status.Errorf(codes.NotFound, "%s: %v", req.GetTok(), err)
	}
	object, err := marshal(result, req.GetAcceptResources())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", req.GetTok(), err)
	}
	return &pulumirpc.ResourceInvokeResponse{Return: object}, nil
}

func (s *server) RegisterResource(ctx context.Context, req *pulumirpc.RegisterResourceRequest) (*pulumirpc.RegisterResourceResponse,
	error) {
	if err := s.transform(ctx, req); err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetObject())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%s %q: %v", req.GetType(), req.GetName(), err)
	}
	r := &Resource{
		Type:              req.GetType(),
		Name:              req.GetName(),
		Parent:            req.GetParent(),
		Custom:            req.GetCustom(),
		Inputs:            inputs,
		Version:           req.GetVersion(),
		Provider:          req.GetProvider(),
		Dependencies:      req.GetDependencies(),
		Protect:           req.GetProtect(),
		RetainOnDelete:    req.GetRetainOnDelete(),
		IgnoreChanges:     req.GetIgnoreChanges(),
		ImportID:          req.GetImportId(),
		AdditionalSecrets: req.GetAdditionalSecretOutputs(),
		Aliases:           len(req.GetAliases()),
		transforms:        req.GetTransforms(),
	}
	if err := s.add(r); err != nil {
		return nil, err
	}

	var faults []error
	if r.Custom {
		r.ID = uuid.NewSHA1(uuid.NameSpaceURL, []byte(r.URN)).String()
		r.Outputs = maps.Clone(r.Inputs)
		if s.program.Create != nil && !strings.HasPrefix(r.Type, "pulumi:providers:") {
			if err := s.program.Create(r); err != nil {
				faults = append(faults, err)
			}
		}
		for _, key := range r.AdditionalSecrets {
			if v, ok := r.Outputs[resource.PropertyKey(key)]; ok && !v.IsSecret() {
				r.Outputs[resource.PropertyKey(key)] = resource.MakeSecret(v)
			}
		}
	}
	if s.program.Check != nil {
		faults = append(faults, s.program.Check(r)...)
	}
	if len(faults) > 0 {
		s.mu.Lock()
		s.faults = append(s.faults, faults...)
		s.mu.Unlock()
	}
	object, err := marshal(r.Outputs, true)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "%s %q: %v", r.Type, r.Name, err)
	}
	return &pulumirpc.RegisterResourceResponse{Urn: r.URN, Id: r.ID, Object: object}, nil
}

// add gives a resource its URN and keeps it.
func (s *server) add(r *Resource) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if parent := s.byURN[r.Parent]; parent != nil && parent.Type != stackType {
		r.qualifiedParentType = parent.Type
		if parent.qualifiedParentType != "" {
			r.qualifiedParentType = parent.qualifiedParentType + "$" + parent.Type
		}
	} else if parent == nil && r.Parent != "" {
		return status.Errorf(codes.InvalidArgument, "%s %q: its parent %s is not registered", r.Type, r.Name, r.Parent)
	}
	c := s.program.Config
	r.URN = string(urn.New(tokens.QName(c.Stack), tokens.PackageName(c.Project), tokens.Type(r.qualifiedParentType),
		tokens.Type(r.Type), r.Name))
	if s.byURN[r.URN] != nil {
		return status.Errorf(codes.AlreadyExists, "two resources of type %s have the name %q: names must be unique (%s)", r.Type,
			r.Name, r.URN)
	}
	s.byURN[r.URN] = r
	s.resources = append(s.resources, r)
	if r.Type == stackType {
		s.stack = r
	}
	return nil
}

func (s *server) RegisterResourceOutputs(_ context.Context, req *pulumirpc.RegisterResourceOutputsRequest) (*emptypb.Empty, error) {
	outputs, err := unmarshal(req.GetOutputs())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%s: %v", req.GetUrn(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.byURN[req.GetUrn()]
	if r == nil {
		return nil, status.Errorf(codes.NotFound, "outputs for %s, which is not registered", req.GetUrn())
	}
	r.Outputs = outputs
	return &emptypb.Empty{}, nil
}

// unmarshal reads properties from the wire. A known output is the same as its
// value here.
func unmarshal(object *structpb.Struct) (resource.PropertyMap, error) {
	properties, err := plugin.UnmarshalProperties(object, plugin.MarshalOptions{
		KeepUnknowns: true, KeepSecrets: true, KeepResources: true, KeepOutputValues: true,
	})
	if err != nil {
		return nil, err
	}
	for key, value := range properties {
		if value, err = settle(value); err != nil {
			return nil, fmt.Errorf("property %s: %w", key, err)
		}
		properties[key] = value
	}
	return properties, nil
}

// settle replaces outputs by secrets and plain values, in place.
func settle(v resource.PropertyValue) (resource.PropertyValue, error) {
	var err error
	switch {
	case v.IsComputed():
		return v, fmt.Errorf("its value is not known")
	case v.IsOutput():
		output := v.OutputValue()
		if !output.Known {
			return v, fmt.Errorf("its value is not known")
		}
		if v, err = settle(output.Element); err != nil {
			return v, err
		}
		if output.Secret && !v.IsSecret() {
			v = resource.MakeSecret(v)
		}
	case v.IsSecret():
		secret := v.SecretValue()
		secret.Element, err = settle(secret.Element)
	case v.IsArray():
		for i, element := range v.ArrayValue() {
			if v.ArrayValue()[i], err = settle(element); err != nil {
				return v, err
			}
		}
	case v.IsObject():
		for key, element := range v.ObjectValue() {
			if v.ObjectValue()[key], err = settle(element); err != nil {
				return v, err
			}
		}
	}
	return v, err
}

func marshal(properties resource.PropertyMap, keepResources bool) (*structpb.Struct, error) {
	return plugin.MarshalProperties(properties, plugin.MarshalOptions{KeepSecrets: true, KeepResources: keepResources})
}

// engine is the other service that a program talks to.
type engine struct {
	pulumirpc.UnimplementedEngineServer
	server *server
	root   string
}

func (e *engine) Log(_ context.Context, req *pulumirpc.LogRequest) (*emptypb.Empty, error) {
	message := strings.TrimSpace(req.GetMessage())
	switch req.GetSeverity() {
	case pulumirpc.LogSeverity_ERROR:
		e.server.mu.Lock()
		e.server.errors = append(e.server.errors, reason(message))
		e.server.mu.Unlock()
	case pulumirpc.LogSeverity_WARNING:
		e.server.mu.Lock()
		e.server.warnings = append(e.server.warnings, message)
		e.server.mu.Unlock()
	}
	return &emptypb.Empty{}, nil
}

func (e *engine) GetRootResource(context.Context, *pulumirpc.GetRootResourceRequest) (*pulumirpc.GetRootResourceResponse, error) {
	e.server.mu.Lock()
	defer e.server.mu.Unlock()
	return &pulumirpc.GetRootResourceResponse{Urn: e.root}, nil
}

func (e *engine) SetRootResource(_ context.Context, req *pulumirpc.SetRootResourceRequest) (*pulumirpc.SetRootResourceResponse, error) {
	e.server.mu.Lock()
	defer e.server.mu.Unlock()
	e.root = req.GetUrn()
	return &pulumirpc.SetRootResourceResponse{}, nil
}

func (e *engine) RequirePulumiVersion(context.Context, *pulumirpc.RequirePulumiVersionRequest) (*pulumirpc.RequirePulumiVersionResponse, error) {
	return &pulumirpc.RequirePulumiVersionResponse{}, nil
}

// lockedWriter lets the program's output and the messages share one writer.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
