package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"keycloak-model-api/internal/drift"
	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
	"keycloak-model-api/internal/repair"
)

// repair prints the commands that lead out where every up fails. It only reads.
func (p *program) repair(ctx context.Context) error {
	var state *repair.State
	if p.stateFile != "" {
		text, err := os.ReadFile(p.stateFile)
		if err != nil {
			return fmt.Errorf("stack: -state: %w", err)
		}
		if state, err = repair.ParseState(text); err != nil {
			return err
		}
	}
	c, err := p.config()
	if err != nil {
		return err
	}
	result, admin, err := p.declareFor(ctx, c)
	if err != nil {
		return err
	}
	realms, err := render.Build(result.Resources)
	if err != nil {
		return err
	}
	for _, realm := range realms {
		live := repair.Live{}
		if live.Realm, err = admin.Read(ctx, realm.Name); keycloak.IsStatus(err, http.StatusNotFound) {
			fmt.Fprintf(p.stderr, "Realm %s does not exist, so nothing of it is in the way.\n", realm.Name)
			continue
		} else if err != nil {
			return readable(err, realm.Name)
		}
		names := drift.Usernames(result.Resources)
		users, err := readUsers(ctx, admin, realm.Name, names)
		if err != nil {
			return readable(err, realm.Name)
		}
		for name, u := range users {
			if u == nil {
				delete(users, name)
			} else {
				live.Users = append(live.Users, u)
			}
		}
		others, err := renamed(ctx, admin, realm.Name, repair.Lookups(result.Resources, users, state))
		if err != nil {
			return readable(err, realm.Name)
		}
		live.Users = append(live.Users, others...)
		if live.Steps, err = flowSteps(ctx, admin, realm.Name, result.Resources); err != nil {
			return readable(err, realm.Name)
		}
		steps, err := repair.Find(result.Resources, live, state)
		if err != nil {
			return err
		}
		if len(steps) == 0 {
			fmt.Fprintf(p.stderr, "Nothing in realm %s is in the way of an up.\n", realm.Name)
		}
		if err := repair.Write(p.stdout, steps); err != nil {
			return err
		}
	}
	return nil
}

// flowSteps are the steps of the program's flows that the realm has, by alias.
func flowSteps(ctx context.Context, admin *keycloak.Admin, realm string,
	resources []*monitor.Resource) (map[string][]keycloak.FlowStep, error) {
	steps := map[string][]keycloak.FlowStep{}
	for _, alias := range repair.Flows(resources) {
		of, err := admin.FlowSteps(ctx, realm, alias)
		if keycloak.IsStatus(err, http.StatusNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		steps[alias] = of
	}
	return steps, nil
}

// renamed are the users that have another name than the declared one.
func renamed(ctx context.Context, admin *keycloak.Admin, realm string, lookups []repair.Lookup) ([]map[string]any, error) {
	var all []map[string]any
	for _, l := range lookups {
		if l.ID != "" {
			var u map[string]any
			err := admin.Do(ctx, http.MethodGet, "/realms/"+url.PathEscape(realm)+"/users/"+url.PathEscape(l.ID), nil, &u)
			if err == nil {
				all = append(all, u)
			} else if !keycloak.IsStatus(err, http.StatusNotFound) {
				return nil, err
			}
			continue
		}
		found, err := admin.FindUsers(ctx, realm, "email", l.Email)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}
