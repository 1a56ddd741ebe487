package local

import (
	"os"
	"testing"
)

func TestAPI(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"nothing runs here", "", UsualAPI},
		{"another port", "http://127.0.0.1:43210\n", "http://127.0.0.1:43210"},
		{"IPv6", "http://[::1]:8001\n", "http://[::1]:8001"},
		{"a checkout that names another computer", "http://203.0.113.7:8000\n", UsualAPI},
		{"a name that may lead anywhere", "http://localhost.example.com\n", UsualAPI},
		{"loopback as the user of another host", "http://127.0.0.1:8000@example.com\n", UsualAPI},
		{"a path", "http://127.0.0.1:8000/v2\n", UsualAPI},
		{"no URL", "8000\n", UsualAPI},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.Mkdir(".dev", 0o700); err != nil {
				t.Fatal(err)
			}
			if tt.file != "" {
				if err := os.WriteFile(file, []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := API(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAnnounce(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir(".dev", 0o700); err != nil {
		t.Fatal(err)
	}
	const mine, theirs = "http://127.0.0.1:1", "http://127.0.0.1:2"
	if err := Announce(mine); err != nil {
		t.Fatal(err)
	}
	if err := Withdraw(theirs); err != nil || API() != mine {
		t.Errorf("another's was withdrawn: %q, %v", API(), err)
	}
	if err := Withdraw(mine); err != nil || API() != UsualAPI {
		t.Errorf("it is still there: %q, %v", API(), err)
	}
}
