//go:build race

package clusterdns

const raceEnabled = true
