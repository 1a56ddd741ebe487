package login

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
)

// BenchmarkEndSession ends one session among many others.
func BenchmarkEndSession(b *testing.B) {
	for _, others := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			kept := newMemory()
			l := &Login{
				sessions: &scs.SessionManager{IdleTimeout: time.Hour, Lifetime: time.Hour, Store: kept, Codec: scs.GobCodec{}},
				kept:     kept,
			}
			begin := func(n int) string {
				sid := fmt.Sprintf("%024d", n)
				ctx, err := l.sessions.Load(b.Context(), "")
				if err != nil {
					b.Fatal(err)
				}
				token := strings.Repeat("x", 1500)
				if err := l.store(ctx, &grant{AccessToken: token, RefreshToken: token, IDToken: token, Subject: "s", SessionID: sid}); err != nil {
					b.Fatal(err)
				}
				return sid
			}
			for n := range others {
				begin(n + 1)
			}
			for b.Loop() {
				if n, err := l.EndSession(b.Context(), begin(0), "", time.Now()); n != 1 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
