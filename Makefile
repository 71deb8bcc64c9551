# `make` alone lists what there is. Building, running and testing need Go and
# make; the tools of the other targets are built from source by Go, each at the
# version that a go.mod names.

.DEFAULT_GOAL := help

# What can be given on the command line, as in `make run DATA=/tmp/cirrus`.
DATA         ?= ./cirrus-data
LISTEN       ?= 127.0.0.1:50051
ARGS         ?=
TEST_TIMEOUT ?= 15m
FUZZTIME     ?= 10s
SIMTIME      ?= 60s
CLUSTER      ?= long

GO       ?= go
BUF      := $(GO) tool -modfile=tools/buf/go.mod buf
GOLANGCI := $(GO) tool -modfile=tools/lint/go.mod golangci-lint
MODFILES := go.mod tools/buf/go.mod tools/etcd/go.mod tools/lint/go.mod

# The race detector needs cgo, and so a C compiler. Without it the tests run without
# it, and say so; .ci/run sets RACE=-race, and fails instead.
RACE ?= $(shell [ "$$($(GO) env CGO_ENABLED)" = 1 ] && echo -race)

# Systems that the code is vetted for. CI runs tests on linux/amd64.
SYSTEMS := darwin/arm64 linux/arm64 windows/amd64

# Packages that run in one thread, in which the race detector has nothing to find.
PURE := ./fencing/... ./sim/...

# Each commit simulates seeds of its own: those from the number that its hash begins with.
SIM_START ?= $(shell printf '%d' "0x0$$(git rev-parse --short=10 HEAD 2>/dev/null | cut -c1-10)")

.PHONY: help
help: ## Show this list.
	@echo 'Usage: make TARGET [VARIABLE=value …]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'Variables: DATA=$(DATA) LISTEN=$(LISTEN) ARGS=… (run, cluster)'
	@echo '           TEST_TIMEOUT=$(TEST_TIMEOUT) (test)  FUZZTIME=$(FUZZTIME) for each target (fuzz)'
	@echo '           SIMTIME=$(SIMTIME) ARGS=… (sim, zoo)  CLUSTER=$(CLUSTER) or brief (test-cluster)'

.PHONY: run
run: build ## Serve the store in DATA on LISTEN; create it first if there is none.
	@if [ -z "$$(ls -A '$(DATA)' 2>/dev/null)" ]; then ./bin/cirrus init --data '$(DATA)'; fi
	@exec ./bin/cirrus serve --data '$(DATA)' --listen '$(LISTEN)' $(ARGS)

.PHONY: cluster
cluster: build ## Run three etcd members and three replicas here, to kill any of them.
	@$(GO) build -o bin/cluster ./tools/cluster
	@exec ./bin/cluster $(ARGS)

.PHONY: build
build: ## Build bin/cirrus.
	@$(GO) build -o bin/cirrus ./cmd/cirrus

.PHONY: test
test: ## Run all tests, with the race detector where there are threads.
	@if [ -z '$(RACE)' ]; then echo 'make test: no C compiler, so the race detector stays off' >&2; fi
	SIM_START=$(SIM_START) SIM_SEEDS=2000 $(GO) test -timeout $(TEST_TIMEOUT) $(PURE)
	$(GO) test $(RACE) -timeout $(TEST_TIMEOUT) $$($(GO) list ./... | grep -vxF "$$($(GO) list $(PURE))")
	SIM_SEEDS=40 $(GO) test $(RACE) -short -timeout $(TEST_TIMEOUT) ./sim

# Not a part of `make test`: three etcd members, three replicas and dozens of
# clients want the machine for themselves.
.PHONY: test-cluster
test-cluster: ## Try what can go wrong with replicas on etcd: some 10 minutes; CLUSTER=brief: some 3.
	CIRRUS_CLUSTER=$(CLUSTER) $(GO) test -v -count=1 -parallel 3 -timeout 15m -run '^TestCluster' $(ARGS) ./cmd/cirrus/e2e

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME.
	@grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort | sed 's|/[^/]*:func | |' | \
	while read -r dir name; do \
		echo "$(GO) test -fuzz '^$$name\$$' $$dir"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x "$$dir" </dev/null || exit 1; \
	done

.PHONY: bench
bench: ## Measure the service, replicas on etcd, the generator and the simulator, each beside its limit.
	@$(GO) build -o bin/bench ./tools/bench
	./bin/bench $(ARGS)
	$(GO) test -run '^$$' -bench . -benchmem ./snowflake/...
	$(GO) test -run '^$$' -bench . -benchtime 300x -cpu 1 ./sim

# Seeds that nobody has run yet: the clock's. ARGS can name others with --start.
.PHONY: sim
sim: build ## Simulate lives for SIMTIME, up to the first that breaks a promise.
	./bin/cirrus sim --for $(SIMTIME) --start $$(date +%s)000 $(ARGS)

.PHONY: zoo
zoo: build ## Plant bugs, and see that the simulator finds each.
	./bin/cirrus sim zoo $(ARGS)

.PHONY: zoo-renew
zoo-renew: ## Carry planted bugs over to code that has changed; ARGS can name some.
	$(GO) run ./sim/zoo/renew $(ARGS)

.PHONY: check
check: check-format columns ## The loop before a commit: vet, and the tests that take seconds.
	$(GO) vet ./...
	$(GO) test -short ./client ./docs ./fencing ./internal/... ./snowflake ./store
	$(GO) test -run 'Catalogue|Finders|Documented' ./sim/zoo
	SIM_START=$(SIM_START) SIM_SEEDS=300 $(GO) test -run TestCampaign ./sim

.PHONY: check-format
check-format:
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "not gofmt'ed (make fmt does it):"; echo "$$out"; exit 1; fi

.PHONY: lint
lint: check-format columns ## Check style, the direction of imports, and the .proto files.
	$(BUF) lint
	$(BUF) format --diff --exit-code
	$(GOLANGCI) config verify
	$(GOLANGCI) run ./...

# Compiles everything for each system, tests included: cold, this takes minutes.
.PHONY: vet-cross
vet-cross: ## Vet the code for macOS, Windows and Linux on ARM.
	@set -e; for system in $(SYSTEMS); do \
		echo "go vet ./... for $$system"; \
		GOOS=$${system%/*} GOARCH=$${system#*/} CGO_ENABLED=0 $(GO) vet ./...; \
	done

.PHONY: columns
columns: ## Check that at most 1 % of the lines of Go code have more than 100 columns.
	@.ci/columns

.PHONY: fmt
fmt: ## Format the Go and .proto files.
	gofmt -w .
	$(BUF) format -w

.PHONY: generate
generate: ## Generate the Go code of the .proto files.
	$(BUF) generate

# Compares with what is in the work tree, so that it can be run before a commit.
.PHONY: check-generated
check-generated: ## Check that generated code and go.mod files are up to date.
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	mkdir "$$tmp/committed" "$$tmp/generated"; \
	find proto -name '*.pb.go' -o -name '*.connect.go' | while read -r f; do \
		mkdir -p "$$tmp/committed/$${f%/*}"; cp "$$f" "$$tmp/committed/$$f"; done; \
	echo '$(BUF) generate'; $(BUF) generate -o "$$tmp/generated"; \
	(cd "$$tmp" && diff -ru committed generated) || { echo 'generated code is out of date: run `make generate` and commit the result' >&2; exit 1; }
	@set -e; for f in $(MODFILES); do \
		echo "$(GO) -C $$(dirname $$f) mod tidy -diff"; \
		$(GO) -C "$$(dirname $$f)" mod tidy -diff || { echo "$$f is out of date: run \`go mod tidy\` beside it and commit the result" >&2; exit 1; }; \
	done

.PHONY: tools
tools: ## Build what tests, lint and generate need, ahead of time; this takes minutes.
	$(BUF) --version
	$(GOLANGCI) version
	$(GO) tool protoc-gen-go --version
	$(GO) tool protoc-gen-connect-go --version
	cd tools/etcd && $(GO) tool go.etcd.io/etcd/server/v3 --version
	cd tools/etcd && $(GO) tool go.etcd.io/etcd/etcdctl/v3 version

.PHONY: smoke
smoke: ## Try the README's first screen, on other ports and in a temporary folder.
	@.ci/smoke

.PHONY: ci
ci: ## Run what CI runs.
	@.ci/run

.PHONY: clean
clean: ## Remove what was built. It leaves DATA alone.
	rm -rf bin
	find . -name '*.test' -type f -delete
	find . -name '*.prof' -type f -delete
