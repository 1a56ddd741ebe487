package deploy

import (
	"context"
	"os"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/opencontainers/go-digest"
)

// TestDockerfile runs BuildKit's own checks, those of `docker build --check`. They
// must see what is wrong in a file with a mistake, too.
func TestDockerfile(t *testing.T) {
	content, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		content string
		rules   int // that warn
	}{
		"ours":             {string(content), 0},
		"relative workdir": {"FROM scratch\nWORKDIR app\n", 1},
	} {
		source := llb.NewSourceMap(nil, "Dockerfile", "Dockerfile", []byte(test.content))
		source.Definition = &llb.Definition{}
		result, err := dockerfile2llb.DockerfileLint(t.Context(), []byte(test.content), dockerfile2llb.ConvertOpt{
			MetaResolver: anyImage{}, SourceMap: source,
		})
		if err != nil {
			t.Fatal(err)
		}
		if result.Error != nil {
			t.Errorf("%s: %s", name, result.Error.Message)
		}
		if len(result.Warnings) != test.rules {
			t.Errorf("%s: %d warnings, not %d:", name, len(result.Warnings), test.rules)
			for _, w := range result.Warnings {
				t.Errorf("  %s: %s: %s", w.RuleName, w.Description, w.Detail)
			}
		}
	}
}

// anyImage stands for a registry: no check asks what is in a base image.
type anyImage struct{}

func (anyImage) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config := []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers"}}`)
	return ref, digest.FromBytes(config), config, nil
}
