# `make help` lists the targets. They need Go and nothing else, but for bench and
# bench-quick, see bench/README.md. Without a C compiler the race detector is left
# out, without root some tests of network namespaces are, and without Chromium those
# of the console's page, which say so.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c

FUZZTIME ?= 30s
MODULES  := $(dir $(shell find . -name go.mod -not -path './.*'))
RACE     := $(if $(filter 1,$(shell env -u CGO_ENABLED go env CGO_ENABLED)),-race)

# Everything but the race detector is compiled in one way, that of the binary that
# ships: static, and without this machine's paths. Each package is then compiled
# once. In a container git may not trust the folder's owner; Go would stop at that
# when it stamps version and commit into a binary.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(shell go env GOFLAGS) -trimpath $(if $(shell git rev-parse HEAD 2>/dev/null),,-buildvcs=false))

# What the binary and the image say that they are: the release, or the commit.
# Empty without git, and then the go command has the say.
GIT      := git -c safe.directory='$(CURDIR)'
VERSION  ?= $(shell $(GIT) describe --tags --always --match 'v[0-9]*' --abbrev=12 --dirty 2>/dev/null | sed 's/^v//')
REVISION ?= $(shell $(GIT) rev-parse HEAD 2>/dev/null)
STAMP    := $(if $(VERSION),-X main.version=$(VERSION) -X github.com/coredns/coredns/coremain.GitCommit=$(REVISION))
SOURCE_DATE_EPOCH ?= $(shell $(GIT) log -1 --format=%ct 2>/dev/null || echo 0)

.PHONY: help build image push deploy-check deploy-lint lookups run test test-unit test-race test-cluster test-differential test-faults test-hostile soak test-browser screenshots browser-packages \
	lint rules format generate generate-check fuzz fuzz-long bench bench-paced bench-quick bench-smoke bench-packages bench-tools bench-build profile clean FORCE

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

build: ## build bin/clusterdns, static and stripped
	go build -ldflags '-s -w $(STAMP)' -o bin/clusterdns ./cmd/clusterdns

IMAGE ?= localhost/clusterdns:$(VERSION)

image: ## build the image IMAGE for amd64 and arm64: bin/image, an OCI layout, and bin/image.tar
	go run -C deploy/image . -root ../.. -out ../../bin/image -name '$(IMAGE)' \
		-version '$(VERSION)' -revision '$(REVISION)' -epoch $(SOURCE_DATE_EPOCH)

push: image ## push it to the registry of IMAGE=registry.example/clusterdns:1.0
	go run -C deploy/image . -out ../../bin/image -push '$(IMAGE)'

run: build ## serve the quick start's example cluster on port 1053
	@cat corefile-examples/quickstart/TRY
	bin/clusterdns -conf corefile-examples/quickstart/Corefile

# A long step says what it does, and how long that takes on two quiet cores: with
# Go's caches full, and with them empty.
say = @echo "-- $(1) (usually $(2), the first time $(3))"

# gotest is go test with lines of progress. With CI set in the environment a skipped
# test is a failure, unless test/gotest/skips.go has it.
GOTEST := $(CURDIR)/bin/gotest
bin/gotest: FORCE
	@go build -o $@ ./test/gotest

# Kubernetes: compiled when its version or what starts it has changed. It has no
# tests, and is left out of go vet and staticcheck, which would read all of it.
KUBERNETES      := $(shell sed -n 's/^\tk8s.io\/kubernetes //p' test/controlplane/go.mod)
KUBETEST_SOURCE := $(addprefix test/controlplane/,go.mod go.sum) $(filter-out %_test.go,$(wildcard test/controlplane/*.go test/controlplane/cmd/kubetest/*.go))
KUBETEST        := bin/kubetest-$(KUBERNETES)-$(shell cat $(KUBETEST_SOURCE) | cksum | cut -d' ' -f1)
UNREAD          := -e /test/controlplane/cmd/kubetest$$ -e /bench/cmd/coredns$$
$(KUBETEST):
	$(call say,compiling Kubernetes,nothing,5 min)
	@rm -f bin/kubetest-*
	go build -C test/controlplane -buildvcs=false -ldflags '-s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES)' -o ../../$@ ./cmd/kubetest

bin/stock: FORCE
	$(call say,compiling stock CoreDNS,2 s,1 min)
	go build -C bench -buildvcs=false -ldflags '-s -w' -o ../$@ ./cmd/stock

test: test-unit test-race test-cluster test-browser deploy-check ## run every test, also those on a real control plane

test-unit: build bin/gotest ## run the tests of single packages and of servers in one process
	$(call say,tests of clusterdns,1 min,3 min)
	$(GOTEST) -vet=off ./...
	$(call say,tests of the bench,10 s,1 min)
	cd bench && $(GOTEST) -vet=off $$(go list ./... | grep -v $(UNREAD))

test-race: bin/gotest ## run them with the race detector, where goroutines share anything
ifeq ($(RACE),)
	@echo "-- no race detector: it needs a C compiler (Debian packages gcc and libc6-dev)"; test -z "$$CI"
else
	$(call say,tests with the race detector,2 min,5 min)
	CGO_ENABLED=1 $(GOTEST) -vet=off $(RACE) ./plugin/... ./test
	CGO_ENABLED=1 $(GOTEST) -C bench -vet=off $(RACE) ./load
endif

# Tests of a control plane take these from the environment.
CLUSTER := CLUSTERDNS_BINARY=$(CURDIR)/bin/clusterdns STOCK_BINARY=$(CURDIR)/bin/stock KUBETEST_BINARY=$(CURDIR)/$(KUBETEST)

test-cluster: build bin/gotest bin/stock $(KUBETEST) ## run those on a real control plane
	$(call say,tests on a control plane,4 min,5 min)
	cd test/controlplane && $(CLUSTER) $(GOTEST) -vet=off -timeout 30m $$(go list ./... | grep -v $(UNREAD))

test-differential: build bin/gotest bin/stock $(KUBETEST) ## ask stock CoreDNS and clusterdns everything, side by side
	$(call say,780000 questions to both servers,15 min,20 min)
	$(CLUSTER) $(GOTEST) -C test/controlplane -vet=off -timeout 60m -v -count=1 ./differential -args -questions=15000 -rounds=3

test-faults: build bin/gotest bin/stock $(KUBETEST) ## meet every fault, clusterdns and stock CoreDNS side by side, and write docs/faults.md
	$(call say,faults on a control plane,20 min,25 min)
	$(CLUSTER) $(GOTEST) -C test/controlplane -vet=off -timeout 40m -v -count=1 -run '^TestFaults$$' ./e2e -args -full \
		-table $(CURDIR)/docs/faults.md $(if $(FAULT),-fault '$(FAULT)')

DURATION ?= 30m

soak: build bin/gotest $(KUBETEST) ## a churning cluster, faults, reloads and checked load for DURATION (30m): nothing may grow; plot in bin/soak
	$(call say,a soak of $(DURATION),that,5 min more)
	mkdir -p bin/soak
	$(CLUSTER) $(GOTEST) -C test/controlplane -vet=off -timeout 24h -v -count=1 -run '^TestSoak$$' ./e2e -args -soak $(DURATION) -samples $(CURDIR)/bin/soak/samples.csv
	go run -C bench ./cmd/soak -in $(CURDIR)/bin/soak/samples.csv -out $(CURDIR)/bin/soak/soak.svg

test-hostile: build ## what hostile questions, objects and floods cost, beside stock CoreDNS
	go build -C bench -ldflags '-s -w' -o ../bin/coredns ./cmd/coredns
	go run -C test/controlplane ./cmd/hostile -clusterdns $(CURDIR)/bin/clusterdns -coredns $(CURDIR)/bin/coredns

test-browser: build bin/gotest ## look at the console in a real Chromium
	$(call say,tests in Chromium,1 min,2 min)
	CLUSTERDNS_BINARY=$(CURDIR)/bin/clusterdns $(GOTEST) -C test/browser -vet=off -count=1 ./...

screenshots: build ## make the pictures of the console in docs anew
	CLUSTERDNS_BINARY=$(CURDIR)/bin/clusterdns go test -C test/browser -vet=off -count=1 -screenshots $(CURDIR)/docs ./...

browser-packages: ## install Chromium on Debian, as root
	apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium fonts-dejavu-core

deploy-lint: bin/gotest ## the part of deploy-check that takes no API server
	$(call say,image and rendered objects,30 s,5 min)
	$(GOTEST) -C deploy/image -vet=off ./...
	$(GOTEST) -C test/deploy -vet=off -skip 'TestAccepted|TestServes|TestTakesOver|TestReplace|TestNodeLocal|TestLoadNotices' ./...

deploy-check: build bin/gotest bin/stock $(KUBETEST) ## prove image, chart and kustomizations: rendered, reproducible, accepted by an API server, run
	$(call say,tests of image and deployment,4 min,7 min)
	$(CLUSTER) $(GOTEST) -C deploy/image -vet=off -count=1 ./...
	$(CLUSTER) $(GOTEST) -C test/deploy -vet=off -count=1 -timeout 20m ./...

format: ## check that every file is as gofmt has it
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not gofmt'ed:" $$unformatted; exit 1; }

# Without service discovery, whose libraries promtool does not need for this.
rules: ## check the rules for Prometheus, and run their tests
	$(call say,rules for Prometheus,2 s,3 min)
	go build -C .ci/tools -tags remove_all_sd -o ../../bin/promtool github.com/prometheus/prometheus/cmd/promtool
	bin/promtool check rules deploy/observability/rules.yaml
	bin/promtool test rules deploy/observability/tests.yaml

lint: format generate-check ## check format, go vet and staticcheck, in every module
	$(call say,go vet and staticcheck,20 s,3 min)
	go build -C .ci/tools -o ../../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	@for module in $(MODULES); do \
		echo "$$module"; \
		(cd $$module && packages=$$(go list ./... | grep -v $(UNREAD)) && go vet $$packages && "$(CURDIR)/bin/staticcheck" $$packages); \
	done

# The program in the kernel. Its object is committed, so that nobody else needs clang;
# another major version of clang makes another object of the same source.
BPF       := plugin/fastlane/kernel/bpf
BPF_CLANG := 14
clang      = $(shell clang -dumpversion 2>/dev/null | cut -d. -f1)
compile    = clang -O2 -g -target bpfel -mcpu=v3 -Wall -Wextra -Werror -Wno-sign-compare -isystem /usr/include/$$(uname -m)-linux-gnu \
	-fdebug-compilation-dir=. -c $(BPF)/lane.c -o $(1) && llvm-strip -g $(1)

generate: ## compile the program in the kernel; needs clang, llvm-strip and libbpf-dev
	@test '$(clang)' = $(BPF_CLANG) || { echo "make generate needs clang $(BPF_CLANG) (Debian packages clang-$(BPF_CLANG), llvm and libbpf-dev), here is $(or $(clang),none)"; exit 1; }
	$(call compile,$(BPF)/lane.o)

generate-check: ## check that the committed object is what clang makes of the source
	@if test '$(clang)' != $(BPF_CLANG) || test ! -e /usr/include/bpf/bpf_helpers.h || ! command -v llvm-strip >/dev/null; then \
		echo "-- $(BPF)/lane.o is not compared: that takes clang $(BPF_CLANG) (here is $(or $(clang),none)), llvm-strip and libbpf-dev"; else \
		mkdir -p bin && $(call compile,bin/lane.o) && cmp bin/lane.o $(BPF)/lane.o || { echo "$(BPF)/lane.o is not what make generate makes of lane.c"; exit 1; }; \
	fi

fuzz: ## run every fuzz target for FUZZTIME (30s)
	@go test -list '^Fuzz' ./plugin/... | \
	awk '/^Fuzz/ { name[++n] = $$1 } /^ok/ { while (n) print $$2, name[n--] }' | \
	while read -r package name; do \
		echo "$$package $$name"; \
		go test -vet=off -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package </dev/null; \
	done

fuzz-long: ## run every fuzz target for ten minutes
	$(MAKE) fuzz FUZZTIME=10m

# What the comparison starts, ours and stock built alike. Kubernetes takes minutes
# to compile the first time.
BENCH := bin/bench

$(BENCH)/%: FORCE
	go build -C bench -ldflags '-s -w' -o ../$@ ./cmd/$*

$(BENCH)/clusterdns: build
	mkdir -p $(BENCH) && cp bin/clusterdns $@

$(BENCH)/kubetest: $(KUBETEST)
	mkdir -p $(BENCH) && cp $< $@

FORCE:

bench-tools: $(BENCH)/clusterdns $(BENCH)/dnsload $(BENCH)/echo $(BENCH)/compare $(BENCH)/report
bench-build: bench-tools $(BENCH)/coredns $(BENCH)/kubetest

# $(call compare,PLAN,FOLDER,options of report)
compare = mkdir -p $(2) && $(BENCH)/compare -plan $(1) -bin $(BENCH) -repo . -out $(2)/results.json $(if $(ONLY),-only $(ONLY)) && \
	$(BENCH)/report -in $(2)/results.json -out $(2) $(3)

# Of some steps ONLY the results are beside those of all.
bench: bench-build ## compare with CoreDNS, NSD and Knot, in 40 minutes; bench/README.md says how
	$(if $(ONLY),$(call compare,full,bench/results/$(ONLY)),$(call compare,full,bench/results,-readme README.md))

bench-paced: bench-build ## of that the CPU per query only, at everyday rates and at saturation, in 10 minutes
	$(call compare,paced,bench/results,-readme README.md)

bench-quick: bench-build ## a bit of everything with a small cluster, in 6 minutes; the report is in bin/bench/quick
	$(call compare,quick,$(BENCH)/quick)

bench-smoke: bench-tools ## prove in a minute that the comparison works, with clusterdns alone
	$(call compare,smoke,$(BENCH)/smoke)

lookups: build $(KUBETEST) $(BENCH)/coredns ## measure what lookups of names outside take, beside stock CoreDNS: the tables of README.md and docs/autopath.md
	LOOKUPS_STOCK=$(CURDIR)/$(BENCH)/coredns LOOKUPS_TABLES='$(CURDIR)/README.md $(CURDIR)/docs/autopath.md' $(CLUSTER) \
		go test -C test/controlplane -vet=off -count=1 -v -timeout 20m -run 'TestLookups(Memory)?$$' ./e2e

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
