package monitor

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// many registers as many resources as countVariable says, of the size of users.
func many(ctx *pulumi.Context) error {
	n, err := strconv.Atoi(os.Getenv(countVariable))
	if err != nil {
		return err
	}
	parent, err := newThing(ctx, "parent", pulumi.Map{})
	if err != nil {
		return err
	}
	for i := range n {
		name := "user-" + strconv.Itoa(i)
		_, err := newThing(ctx, name, pulumi.Map{
			"realmId": parent.ID(), "username": pulumi.String(name), "email": pulumi.String(name + "@example.com"),
			"enabled": pulumi.Bool(true), "initialPassword": pulumi.Map{"value": pulumi.ToSecret("password of " + name)},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const countVariable = "MONITOR_TEST_COUNT"

// bare answers registrations with nothing but what the SDK needs.
type bare struct {
	pulumirpc.UnimplementedResourceMonitorServer
	pulumirpc.UnimplementedEngineServer
}

func (bare) SupportsFeature(_ context.Context, req *pulumirpc.SupportsFeatureRequest) (*pulumirpc.SupportsFeatureResponse, error) {
	return &pulumirpc.SupportsFeatureResponse{HasSupport: true}, nil
}

func (bare) RegisterResource(_ context.Context, req *pulumirpc.RegisterResourceRequest) (*pulumirpc.RegisterResourceResponse, error) {
	return &pulumirpc.RegisterResourceResponse{Urn: "urn:pulumi:s::p::" + req.GetType() + "::" + req.GetName(), Id: req.GetName(), Object: req.GetObject()}, nil
}

func (bare) RegisterResourceOutputs(context.Context, *pulumirpc.RegisterResourceOutputsRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (bare) SetRootResource(context.Context, *pulumirpc.SetRootResourceRequest) (*pulumirpc.SetRootResourceResponse, error) {
	return &pulumirpc.SetRootResourceResponse{}, nil
}

const count = 6000

// The program's own work and the wire are in both; the difference is ours.
func BenchmarkBareSDK(b *testing.B) {
	for b.Loop() {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		rpc := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage))
		pulumirpc.RegisterResourceMonitorServer(rpc, bare{})
		pulumirpc.RegisterEngineServer(rpc, bare{})
		go rpc.Serve(listener)
		cmd := exec.Command(os.Args[0])
		address := listener.Addr().String()
		cmd.Env = append(os.Environ(), programVariable+"=many", countVariable+"="+strconv.Itoa(count),
			"PULUMI_MONITOR="+address, "PULUMI_ENGINE="+address, "PULUMI_PROJECT=p", "PULUMI_STACK=s")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		rpc.Stop()
	}
}

func BenchmarkRun(b *testing.B) {
	for b.Loop() {
		result, err := Run(b.Context(), Program{
			Binary: os.Args[0], Dir: b.TempDir(), Log: os.Stderr,
			Env:    append(os.Environ(), programVariable+"=many", countVariable+"="+strconv.Itoa(count)),
			Config: &Config{Project: "p", Stack: "s", Values: map[string]string{}},
		})
		if err != nil || len(result.Resources) != count+2 {
			b.Fatalf("%v", err)
		}
	}
}
