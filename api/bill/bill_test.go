package bill_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keycloak-model-api/api/bill"
)

// line is a record; more are further members.
func line(day, client, model, more string) string {
	return fmt.Sprintf(`{"time":"2026-11-%sT23:30:00Z","level":"INFO","msg":"decision","client":%q,"model":%q,"decision":"allow","code":"allowed"%s}`+"\n", day, client, model, more)
}

const used = `,"usage":{"input":1000000,"output":500000,"cached":400000,"reasoning":7,"estimated":true}`

var records = line("24", "web", "llama", used) +
	line("24", "web", "llama", `,"groups":["/research","/sales"]`+used) +
	line("25", "batch", "iris", `,"groups":["/research"]`) +
	`{"time":"2026-11-25T23:30:00-02:00","msg":"decision","client":"batch","model":"iris","decision":"allow","code":"allowed"}` + "\n" + // the 26th in UTC
	`{"msg":"decision","model":"iris","decision":"refuse","code":"role_missing"}` + "\n" +
	`{"msg":"decision","model":"iris","decision":"allow","code":"limit_reached"}` + "\n" +
	`{"msg":"decision","model":"iris","decision":"allow","code":"upstream_unreachable"}` + "\n" +
	`{"msg":"decision","model":"","decision":"allow","code":"allowed"}` + "\n" +
	`{"msg":"listening","url":"http://x"}` + "\n\n" +
	line("25", "web", "llama", `,"x":1`)[:40] // is being written

const priced = `{"currency":"EUR","models":{"llama":{"input":0.10,"output":2,"cached":0.01},"iris":{"request":0.001}}}`

func sum(t *testing.T, by, prices, text string) *bill.Sum {
	t.Helper()
	var p *bill.Prices
	if prices != "" {
		var err error
		if p, err = bill.ParsePrices([]byte(prices)); err != nil {
			t.Fatal(err)
		}
	}
	s := bill.NewSum(strings.Split(by, ","), p)
	if err := s.Read(strings.NewReader(text), "audit.log"); err != nil {
		t.Fatal(err)
	}
	return s
}

func written(t *testing.T, s *bill.Sum, format string) string {
	t.Helper()
	var out bytes.Buffer
	if err := s.Write(&out, format); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Amounts are exact: 0.6 million at 0.10, 0.4 at 0.01 and 0.5 at 2 are 1.064.
func TestSum(t *testing.T) {
	for _, row := range []struct{ by, prices, want string }{
		{"model", "", "model,requests,input,output,cached,reasoning,estimated\niris,2,0,0,0,0,0\nllama,2,2000000,1000000,800000,14,2\n"},
		{"day,client", priced, "day,client,requests,input,output,cached,reasoning,estimated,cost EUR\n" +
			"2026-11-24,web,2,2000000,1000000,800000,14,2,2.128000\n2026-11-25,batch,1,0,0,0,0,0,0.001000\n2026-11-26,batch,1,0,0,0,0,0,0.001000\n"},
		{"group", priced, "group,requests,input,output,cached,reasoning,estimated,cost EUR\n" +
			",2,1000000,500000,400000,7,1,1.065000\n/research,2,1000000,500000,400000,7,1,1.065000\n/sales,1,1000000,500000,400000,7,1,1.064000\n"},
	} {
		if diff := cmp.Diff(row.want, written(t, sum(t, row.by, row.prices, records), "csv")); diff != "" {
			t.Errorf("by %s (-want +got):\n%s", row.by, diff)
		}
	}
}

func TestFormats(t *testing.T) {
	s := sum(t, "client", priced, records)
	if got, want := written(t, s, "table"), "client  requests  input    output   cached  reasoning  estimated  cost EUR\nbatch   2         0        0        0       0          0          0.002000\n"; !strings.HasPrefix(got, want) {
		t.Errorf("table\n%s\nwant\n%s", got, want)
	}
	var rows []map[string]any
	if err := json.Unmarshal([]byte(written(t, s, "json")), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[1]["client"] != "web" || rows[1]["input"] != 2e6 || rows[1]["cost"] != "2.128000" || rows[1]["currency"] != "EUR" {
		t.Errorf("json %v", rows)
	}
}

// No name becomes a formula of a spreadsheet, a terminal's command or a line
// (CWE-1236, CWE-150).
func TestNamesAreText(t *testing.T) {
	for _, name := range []string{"=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "＝1"} {
		text := line("24", "web", "m", fmt.Sprintf(`,"groups":[%q]`, "x"))
		encoded, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		s := sum(t, "group", "", strings.Replace(text, `"x"`, string(encoded), 1))
		if csv := written(t, s, "csv"); !strings.Contains(csv, "\n'"+name) && !strings.Contains(csv, "\n\"'"+name) {
			t.Errorf("csv %q", csv)
		}
	}
	s := sum(t, "group", "", strings.Replace(line("24", "web", "m", `,"groups":["x"]`), `"x"`, `"a\u001b[2Jb\nc"`, 1))
	if table := written(t, s, "table"); strings.Contains(table, "\x1b") || strings.Count(table, "\n") != 2 {
		t.Errorf("table %q", table)
	}
}

// A bill that silently lacks something is worse than none.
func TestReadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"line 2 is no audit record":             line("24", "a", "b", "") + "garbage\n",
		"line 1 is an event of OCSF":            `{"class_uid":6003}` + "\n",
		"line 1: bufio: buffer full":            strings.Repeat("x", 2<<20) + "\n",
		"line 1 is no audit record in JSON: js": `{"msg":"decision","usage":{"input":1.5}}` + "\n",
	} {
		err := bill.NewSum([]string{"day"}, nil).Read(strings.NewReader(text), "audit.log")
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "audit.log") {
			t.Errorf("got %v, want %s", err, name)
		}
	}
	for _, text := range []string{
		``, `{}`, `{"models":{}}`, `{"models":{"a":{"input":-1}}}`, `{"models":{"a":{"input":"1"}}}`, `{"models":{"a":{"in":1}}}`,
		`{"models":{"a":{"input":1e999999999}}}`, `{"models":{"a":{},"a":{}}}`,
	} {
		if _, err := bill.ParsePrices([]byte(text)); err == nil {
			t.Errorf("prices %s are taken", text)
		}
	}
}

// A model without a price is named, and costs nothing.
func TestUnpriced(t *testing.T) {
	s := sum(t, "model", `{"models":{"llama":{"input":1}}}`, records)
	if len(s.Unpriced) != 1 || s.Unpriced[0] != "iris" || !strings.Contains(written(t, s, "csv"), "iris,2,0,0,0,0,0,0.000000") {
		t.Errorf("unpriced %q\n%s", s.Unpriced, written(t, s, "csv"))
	}
}
