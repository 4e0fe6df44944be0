package mmsg

import (
	"net"
	"strconv"
	"sync"
	"time"
)

// zoneCache translates between an interface's index and the zone of a
// link-local address, as package net writes it: the interface's name, or its
// index in decimal if there is no such interface any more.
//
// To ask for one interface is to have the kernel list all, which is not to be
// done for each datagram of whoever has a link-local address. So what it said
// is believed for zonesFor, as package net does.
type zoneCache struct {
	list func() ([]net.Interface, error)

	mu      sync.RWMutex
	until   time.Time
	names   map[int]string
	indices map[string]int
}

const zonesFor = time.Minute

var zones = zoneCache{list: net.Interfaces}

// name returns the zone of an index.
func (z *zoneCache) name(index int) string {
	z.fresh()
	defer z.mu.RUnlock()
	if name, ok := z.names[index]; ok {
		return name
	}
	return strconv.Itoa(index)
}

// index returns the index of a zone, 0 for none.
func (z *zoneCache) index(zone string) int {
	if zone == "" {
		return 0
	}
	z.fresh()
	defer z.mu.RUnlock()
	if index, ok := z.indices[zone]; ok {
		return index
	}
	index, _ := strconv.Atoi(zone)
	return index
}

// fresh returns with mu held for reading.
func (z *zoneCache) fresh() {
	z.mu.RLock()
	if time.Now().Before(z.until) {
		return
	}
	z.mu.RUnlock()
	z.update()
	z.mu.RLock()
}

func (z *zoneCache) update() {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := time.Now()
	if now.Before(z.until) {
		return // another goroutine was quicker
	}
	z.until = now.Add(zonesFor)
	list, err := z.list()
	if err != nil {
		return // what was known is as good as ever
	}
	z.names, z.indices = make(map[int]string, len(list)), make(map[string]int, len(list))
	for _, i := range list {
		z.names[i.Index], z.indices[i.Name] = i.Name, i.Index
	}
}
