# `make help` lists the targets. They need Go and nothing else, but for bench and
# bench-quick, see bench/README.md; the race detector needs a C compiler and is
# left out without one.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c

FUZZTIME ?= 30s
MODULES  := $(dir $(shell find . -name go.mod -not -path './.*'))
RACE     := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

# In a container git may not trust the folder's owner. Go would stop at that
# when it stamps version and commit into the binary.
ifeq ($(shell git rev-parse HEAD 2>/dev/null),)
export GOFLAGS := $(shell go env GOFLAGS) -buildvcs=false
endif

# What the binary and the image say that they are: the release, or the commit.
# Empty without git, and then the go command has the say.
GIT      := git -c safe.directory='$(CURDIR)'
VERSION  ?= $(shell $(GIT) describe --tags --always --match 'v[0-9]*' --abbrev=12 --dirty 2>/dev/null | sed 's/^v//')
REVISION ?= $(shell $(GIT) rev-parse HEAD 2>/dev/null)
STAMP    := $(if $(VERSION),-X main.version=$(VERSION) -X github.com/coredns/coredns/coremain.GitCommit=$(REVISION))
SOURCE_DATE_EPOCH ?= $(shell $(GIT) log -1 --format=%ct 2>/dev/null || echo 0)

.PHONY: help build image push deploy-check run test test-differential test-hostile lint fuzz bench bench-paced bench-quick bench-smoke bench-packages bench-tools bench-build profile clean FORCE

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

build: ## build bin/clusterdns, static and stripped
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w $(STAMP)' -o bin/clusterdns ./cmd/clusterdns

IMAGE ?= localhost/clusterdns:$(VERSION)

image: ## build the image IMAGE for amd64 and arm64: bin/image, an OCI layout, and bin/image.tar
	go run -C deploy/image . -root ../.. -out ../../bin/image -name '$(IMAGE)' \
		-version '$(VERSION)' -revision '$(REVISION)' -epoch $(SOURCE_DATE_EPOCH)

push: image ## push it to the registry of IMAGE=registry.example/clusterdns:1.0
	go run -C deploy/image . -out ../../bin/image -push '$(IMAGE)'

run: build ## serve the quick start's example cluster on port 1053
	@cat corefile-examples/quickstart/TRY
	bin/clusterdns -conf corefile-examples/quickstart/Corefile

# Compiling Kubernetes for the control plane takes minutes: ahead of its tests,
# not in their time.
test: build ## run every test, also those on a real control plane
	@echo "race detector: $(if $(RACE),on,off for want of a C compiler)"
	go test -vet=off $(RACE) ./plugin/... ./cmd/... ./test/...
	go build -C test/controlplane -o /dev/null ./cmd/kubetest
	go build -C bench -o /dev/null ./cmd/coredns
	go test -C bench -vet=off $(RACE) ./...
	go test -C test/controlplane -vet=off -timeout 30m ./...

test-differential: build ## ask stock CoreDNS and clusterdns everything, side by side
	go build -C bench -o /dev/null ./cmd/coredns
	go test -C test/controlplane -vet=off -timeout 60m -v -count=1 ./differential -args -questions=15000 -rounds=3

test-hostile: build ## what hostile questions, objects and floods cost, beside stock CoreDNS
	CGO_ENABLED=0 go build -C bench -trimpath -ldflags '-s -w' -o ../bin/coredns ./cmd/coredns
	go run -C test/controlplane ./cmd/hostile -clusterdns $(CURDIR)/bin/clusterdns -coredns $(CURDIR)/bin/coredns

deploy-check: ## prove image, chart and kustomizations: rendered, reproducible, accepted by an API server, run
	go test -C deploy/image -vet=off -count=1 ./...
	go build -C test/controlplane -o /dev/null ./cmd/kubetest
	go build -C bench -o /dev/null ./cmd/coredns
	go test -C test/deploy -vet=off -count=1 -timeout 20m ./...

lint: ## check format, go vet and staticcheck, in every module
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not gofmt'ed:" $$unformatted; exit 1; }
	go build -C .ci/tools -o ../../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	@for module in $(MODULES); do \
		echo "go vet and staticcheck: $$module"; \
		(cd $$module && go vet ./... && "$(CURDIR)/bin/staticcheck" ./...); \
	done

fuzz: ## run every fuzz target for FUZZTIME (30s)
	@go test -list '^Fuzz' ./plugin/... | \
	awk '/^Fuzz/ { name[++n] = $$1 } /^ok/ { while (n) print $$2, name[n--] }' | \
	while read -r package name; do \
		echo "$$package $$name"; \
		go test -vet=off -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package </dev/null; \
	done

# What the comparison starts, ours and stock built alike. Kubernetes takes minutes
# to compile the first time.
BENCH := bin/bench

$(BENCH)/%: FORCE
	CGO_ENABLED=0 go build -C bench -trimpath -ldflags '-s -w' -o ../$@ ./cmd/$*

$(BENCH)/clusterdns: build
	mkdir -p $(BENCH) && cp bin/clusterdns $@

$(BENCH)/kubetest: FORCE
	go build -C test/controlplane -buildvcs=false -ldflags '-s -w' -o ../../$@ ./cmd/kubetest

FORCE:

bench-tools: $(BENCH)/clusterdns $(BENCH)/dnsload $(BENCH)/compare $(BENCH)/report
bench-build: bench-tools $(BENCH)/coredns $(BENCH)/kubetest

# $(call compare,PLAN,FOLDER,options of report)
compare = mkdir -p $(2) && $(BENCH)/compare -plan $(1) -bin $(BENCH) -repo . -out $(2)/results.json $(if $(ONLY),-only $(ONLY)) && \
	$(BENCH)/report -in $(2)/results.json -out $(2) $(3)

bench: bench-build ## compare with CoreDNS, NSD and Knot, in 30 minutes; bench/README.md says how
	$(call compare,full,bench/results,-readme README.md)

bench-paced: bench-build ## of that the CPU per query only, at everyday rates and at saturation, in 10 minutes
	$(call compare,paced,bench/results,-readme README.md)

bench-quick: bench-build ## a bit of everything with a small cluster, in 6 minutes; the report is in bin/bench/quick
	$(call compare,quick,$(BENCH)/quick)

bench-smoke: bench-tools ## prove in a minute that the comparison works, with clusterdns alone
	$(call compare,smoke,$(BENCH)/smoke)

# The policy keeps the packages from starting their servers. A machine that has
# one of its own decides itself.
POLICY := /usr/sbin/policy-rc.d

bench-packages: ## install NSD, Knot and dnsperf on Debian, as root
	if test ! -e $(POLICY); then trap 'rm -f $(POLICY)' EXIT; printf '#!/bin/sh\nexit 101\n' >$(POLICY); chmod +x $(POLICY); fi; \
	apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends nsd knot dnsperf

MIX ?= clusterip

profile: $(BENCH)/clusterdns $(BENCH)/dnsload $(BENCH)/compare ## leave CPU and heap profiles of clusterdns in bench/results, under load of MIX (clusterip), at RATE queries a second or as many as it answers
	$(BENCH)/compare -plan profile -bin $(BENCH) -repo . -out bench/results/profile.json -profile $(MIX) $(if $(RATE),-rate $(RATE))

clean: ## remove what was built
	rm -rf bin
