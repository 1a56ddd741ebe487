package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The command sums files and standard input, and says what is wrong with its flags.
func TestUsage(t *testing.T) {
	const record = `{"time":"2026-11-24T12:00:00Z","msg":"decision","client":"web","model":"llama","decision":"allow","code":"allowed","groups":["/g"],"usage":{"input":2,"output":3}}` + "\n"
	dir := t.TempDir()
	files := map[string]string{"audit.log": record, "prices.json": `{"currency":"EUR","models":{"llama":{"input":1000000}}}`, "others.json": `{"models":{"x":{"input":1}}}`, "broken.log": "no record\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for _, row := range []struct {
		name, args string
		exit       int
		out, err   string
	}{
		{"a file and standard input", "-format csv audit.log -", 0, "day,group,requests,input,output,cached,reasoning,estimated\n2026-11-24,/g,2,4,6,0,0,0\n", ""},
		{"a bill", "-by client,model -format csv -prices prices.json audit.log", 0, "client,model,requests,input,output,cached,reasoning,estimated,cost EUR\nweb,llama,1,2,3,0,0,0,2.000000\n", ""},
		{"a model without a price", "-by model -format csv -prices others.json audit.log", 0, "llama,1", "no price, so nothing charged: llama"},
		{"a line that is no record", "broken.log", 1, "", "broken.log, line 1 is no audit record"},
		{"a file that is missing", "none.log", 1, "", "none.log"},
		{"no file", "", 2, "", "expected go run ./api usage [flags] FILE..."},
		{"a column that is none", "-by day,user audit.log", 2, "", `"user" is none of day, group, client, model`},
		{"a column twice", "-by day,day audit.log", 2, "", "there twice"},
		{"no column", "-by , audit.log", 2, "", "give at least one"},
		{"a format that is none", "-format xml audit.log", 2, "", `"xml" is none of table, csv, json`},
		{"no prices", "-prices audit.log audit.log", 2, "", "not a list of prices"},
		{"help", "-h", 0, "go run ./api usage [flags] FILE...", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out, log bytes.Buffer
			err := run(t.Context(), append([]string{"usage"}, strings.Fields(row.args)...), os.Getenv, strings.NewReader(record), &out, &log)
			exit, said := 0, log.String()
			if err != nil {
				exit, said = exitCode(err), err.Error()
			}
			if exit != row.exit || !strings.Contains(out.String(), row.out) || !strings.Contains(said, row.err) {
				t.Errorf("exit status %d\n%s\n%s", exit, out.String(), said)
			}
		})
	}
}
