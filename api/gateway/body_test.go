package gateway

import (
	"bytes"
	"io"
	"math"
	"testing"
)

// pieces reads a body as it comes over a network, and notes how much room was made.
type pieces struct {
	body  *bytes.Reader
	came  int
	ahead int // the most room beyond what had come
}

func (p *pieces) Read(b []byte) (int, error) {
	p.ahead = max(p.ahead, len(b))
	n, err := p.body.Read(b[:min(len(b), 4096)])
	p.came += n
	return n, err
}

// A body arrives whole whatever its length and what it says of it, and a caller that
// says much and sends little takes little memory.
func TestReadHead(t *testing.T) {
	for _, size := range []int{0, 1, 1 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20, 3 << 20} {
		sent := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
		for said, length := range map[string]int64{"its length": int64(size), "no length": -1, "more than comes": int64(size) + 8<<20} {
			from := &pieces{body: bytes.NewReader(sent)}
			got, err := readHead(from, length, math.MaxInt)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes that say %s: %d came, error %v", size, said, len(got), err)
			}
			if most := 64<<10 + 4*size; from.ahead > most {
				t.Errorf("%d bytes that say %s: room for %d, want at most %d", size, said, from.ahead, most)
			}
		}
		from := &pieces{body: bytes.NewReader(sent)}
		if got, err := readHead(from, -1, 1000); err != nil || !bytes.Equal(got, sent[:min(size, 1000)]) {
			t.Errorf("1000 of %d bytes: %d came, error %v", size, len(got), err)
		}
	}
	if _, err := readHead(io.MultiReader(bytes.NewReader([]byte("{")), failing{}), 10, math.MaxInt); err != io.ErrUnexpectedEOF {
		t.Errorf("a body that breaks off: error %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
