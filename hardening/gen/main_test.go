package main

import (
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keycloak-model-api/hardening"
)

func TestTablesAreCurrent(t *testing.T) {
	text, err := os.ReadFile("../" + document)
	if err != nil {
		t.Fatal(err)
	}
	want, err := fill(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("run go generate ./hardening (-want +got):\n%s", diff)
	}
}

func TestEachFieldHasALine(t *testing.T) {
	var shown []string
	for _, r := range append(slices.Clone(realmRows), clientRows...) {
		shown = append(shown, r.field)
	}
	level := reflect.TypeFor[hardening.Level]()
	for i := range level.NumField() {
		if name := level.Field(i).Name; !slices.Contains(shown, name) {
			t.Errorf("Level.%s is in no table", name)
		}
	}
	if _, err := fill([]byte("no markers")); err == nil {
		t.Error("a document without markers is taken")
	}
}
