# Everything that one does with this project, one line each: make help.
.DEFAULT_GOAL := help
GO ?= go
# With paths in compiled packages each checkout would compile the SDK anew.
export GOFLAGS := -trimpath $(GOFLAGS)
export INSTALL
E2E_TIMEOUT ?= 30m
FUZZ_RUNS ?= 25000
MODULES := . sdks/keycloak bench deploy e2e

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: ## Keycloak, the realm and the API on this computer; Ctrl-C stops them
	@# Not go run, which makes an error of Ctrl-C and hands no other signal on.
	@$(GO) build -o bin/ ./dev && exec bin/dev

.PHONY: preview
preview: ## What the stack would make, as text, without any server
	@$(GO) run ./dev render -preview

# Not go run, which makes 1 of every exit status.
STACK ?= dev
.PHONY: drift
drift: ## What the next pulumi up would overwrite in the live realm of STACK=NAME, by KEYCLOAK=URL
	@$(GO) build -o bin/ ./dev && exec bin/dev drift -stack $(STACK) $(if $(KEYCLOAK),-keycloak $(KEYCLOAK))

.PHONY: quick
quick: ## The unit tests that compile no other program, for the inner loop
	$(GO) test $$($(GO) list ./... | grep -vE '/(dev|examples)$$')

.PHONY: prerequisites
prerequisites: ## Install or name what the tests need beside Go
	@scripts/prerequisites

.PHONY: test
test: ## All tests, the end-to-end ones on a real Keycloak included
	@MAKE="$(MAKE)" scripts/test prerequisites test-sdk test-unit test-alerts fuzz test-bench deploy-check test-e2e

.PHONY: test-sdk test-unit test-alerts test-bench test-e2e
test-sdk:
	$(GO) test -C sdks/keycloak ./...
test-unit:
	$(GO) test -race ./...
test-alerts:
	@scripts/check-alerts
test-bench:
	$(GO) test -C bench ./...
test-e2e:
	$(GO) test -C e2e -count=1 -timeout $(E2E_TIMEOUT) -v .

.PHONY: fuzz
fuzz: ## Fuzz every parser of untrusted input with FUZZ_RUNS inputs each
	@scripts/fuzz $(FUZZ_RUNS)

.PHONY: bench
bench: ## Measure against peers; writes the tables and plots in docs/
	@scripts/prerequisites bench || echo "The tables say what could not be measured."
	$(GO) run -C bench . -out ../docs/bench

.PHONY: chaos soak
chaos: prerequisites ## Faults of Keycloak, of model servers and of callers, under load: about 6 minutes
	CHAOS=10s CHAOS_TABLE=$(CURDIR)/docs/bench/chaos.md $(GO) test -C e2e -count=1 -timeout 20m -v -run 'TestChaos$$' .
SOAK ?= 20m
soak: prerequisites ## A long run (SOAK, 20 minutes): flat memory, goroutines and open files
	SOAK=$(SOAK) SOAK_TABLE=$(CURDIR)/docs/bench/soak.md $(GO) test -C e2e -count=1 -timeout 2h -v -run 'TestSoak$$' .

.PHONY: release
release: ## Programs for each system, checksums, bills of materials and the image, in dist/
	$(GO) run -C deploy ./release -out ../dist

.PHONY: deploy-check
deploy-check: ## Check the manifests, the Dockerfile, and a release for this computer
	$(GO) test -C deploy ./...

.PHONY: screenshots
screenshots: prerequisites ## Remake the screenshots in docs/
	SCREENSHOTS=$(CURDIR)/docs/screenshots $(GO) test -C e2e -count=1 -timeout $(E2E_TIMEOUT) -run TestBrowser .

.PHONY: generate
generate: ## Remake generated code and documentation
	$(GO) generate ./...
	$(GO) generate -C sdks/keycloak ./...

.PHONY: fmt
fmt: ## Format the code
	gofmt -l -w .

.PHONY: lint
lint: ## gofmt, go mod tidy and verify, go vet, staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "make fmt formats these"; exit 1; }
	$(GO) mod verify
	@staticcheck=$$($(GO) tool -n staticcheck) && for module in $(MODULES); do \
		(set -x; cd $$module && $(GO) mod tidy -diff && $(GO) vet ./... && $$staticcheck ./...) || exit 1; \
	done

.PHONY: vulncheck
vulncheck: ## Look the modules up in Go's database of vulnerabilities (needs https://vuln.go.dev)
	@scripts/vulncheck $(MODULES)

.PHONY: clean
clean: ## Forget this checkout's Keycloak data, realm and secrets (the downloads stay)
	rm -rf .dev
