package main

import "strings"

// skips are the tests that may be skipped, with the reason. A name stands also
// for the subtests, and none for all of the package. With race, only a run with -race may skip it; another run
// without has to follow.
var skips = []struct {
	pkg, test string
	race      bool
	reason    string
}{
	{"plugin", "TestExplainAllocations", true, racing},
	{"plugin", "TestHandlerAllocations", true, racing},
	{"plugin", "TestLaneAllocations", true, racing},
	{"plugin", "TestKernelIsTheLane", false, withoutBPF},
	{"plugin", "TestKernelFollows", false, withoutBPF},
	{"plugin", "FuzzKernelIsTheLane", false, withoutBPF},
	{"plugin/fastlane/mmsg", "TestNoAllocs", true, racing},
	{"test/controlplane/e2e", "TestSoak", false, "it takes half an hour: make soak"},
	{"test/controlplane/e2e", "TestLookupsMemory", false, "it fills a cluster with 100,000 pods: make lookups"},
	{"bench/cmd/echo", "TestEcho", false, withoutBPF},
	{"test/controlplane/e2e", "TestKernelLane", false, "it takes Linux 6.6; parts of it dig, kdig, dnsperf and musl-gcc"},
	{"plugin/fastlane/kernel", "", false, withoutBPF},
	{"plugin/fastlane/mmsg", "TestPending/single", false, "where there is no recvmmsg nothing says what waits"},
}

const (
	racing     = "the race detector allocates; the run without it counts"
	withoutBPF = "without CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or tcx (Linux 6.6), the kernel runs no such program"
)

// allowed returns the reason why a test may be skipped, or "".
func allowed(t test, race bool) string {
	const module = "github.com/clusterdns/clusterdns/"
	for _, s := range skips {
		if t.pkg == module+s.pkg && (s.test == "" || t.name == s.test || strings.HasPrefix(t.name, s.test+"/")) && (race || !s.race) {
			return s.reason
		}
	}
	return ""
}
