package monitor

import (
	"context"
	"fmt"
	"sync"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// transform gives the transforms of a resource their say, in the engine's
// order: the resource's own, its parents' from the nearest up, the stack's. It
// changes req.
func (s *server) transform(ctx context.Context, req *pulumirpc.RegisterResourceRequest) error {
	s.mu.Lock()
	list := append([]*pulumirpc.Callback(nil), req.GetTransforms()...)
	for parent := s.byURN[req.GetParent()]; parent != nil; parent = s.byURN[parent.Parent] {
		list = append(list, parent.transforms...)
	}
	list = append(list, s.stackTransforms...)
	s.mu.Unlock()

	for _, cb := range list {
		if err := s.callbacks.transform(ctx, cb, req); err != nil {
			return status.Errorf(codes.Aborted, "a transform of %s %q failed: %v", req.GetType(), req.GetName(),
				status.Convert(err).Message())
		}
	}
	return nil
}

// callbacks are the programs' own servers, which run the transforms.
type callbacks struct {
	mu    sync.Mutex
	conns map[string]*grpc.ClientConn // by target
}

func newCallbacks() *callbacks { return &callbacks{conns: map[string]*grpc.ClientConn{}} }

func (c *callbacks) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
}

func (c *callbacks) client(target string) (pulumirpc.CallbacksClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.conns[target]
	if conn == nil {
		var err error
		conn, err = grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
		if err != nil {
			return nil, err
		}
		c.conns[target] = conn
	}
	return pulumirpc.NewCallbacksClient(conn), nil
}

func (c *callbacks) transform(ctx context.Context, cb *pulumirpc.Callback, req *pulumirpc.RegisterResourceRequest) error {
	client, err := c.client(cb.GetTarget())
	if err != nil {
		return err
	}
	request, err := proto.Marshal(&pulumirpc.TransformRequest{
		Type:       req.GetType(),
		Name:       req.GetName(),
		Custom:     req.GetCustom(),
		Parent:     req.GetParent(),
		Properties: req.GetObject(),
		Options: &pulumirpc.TransformResourceOptions{
			DependsOn:               req.GetDependencies(),
			Protect:                 req.Protect,
			IgnoreChanges:           req.GetIgnoreChanges(),
			ReplaceOnChanges:        req.GetReplaceOnChanges(),
			Version:                 req.GetVersion(),
			Aliases:                 req.GetAliases(),
			Provider:                req.GetProvider(),
			Providers:               req.GetProviders(),
			CustomTimeouts:          req.GetCustomTimeouts(),
			PluginDownloadUrl:       req.GetPluginDownloadURL(),
			RetainOnDelete:          req.RetainOnDelete,
			DeletedWith:             req.GetDeletedWith(),
			AdditionalSecretOutputs: req.GetAdditionalSecretOutputs(),
			Import:                  req.GetImportId(),
		},
	})
	if err != nil {
		return err
	}
	answer, err := client.Invoke(ctx, &pulumirpc.CallbackInvokeRequest{Token: cb.GetToken(), Request: request})
	if err != nil {
		return err
	}
	var response pulumirpc.TransformResponse
	if err := proto.Unmarshal(answer.GetResponse(), &response); err != nil {
		return fmt.Errorf("its answer: %w", err)
	}
	if response.Properties != nil {
		req.Object = response.Properties
	}
	if o := response.Options; o != nil {
		req.Dependencies = o.DependsOn
		req.Protect = o.Protect
		req.IgnoreChanges = o.IgnoreChanges
		req.ReplaceOnChanges = o.ReplaceOnChanges
		req.Version = o.Version
		req.Aliases = o.Aliases
		req.Provider = o.Provider
		req.Providers = o.Providers
		req.CustomTimeouts = o.CustomTimeouts
		req.PluginDownloadURL = o.PluginDownloadUrl
		req.RetainOnDelete = o.RetainOnDelete
		req.DeletedWith = o.DeletedWith
		req.AdditionalSecretOutputs = o.AdditionalSecretOutputs
		req.ImportId = o.Import
	}
	return nil
}
