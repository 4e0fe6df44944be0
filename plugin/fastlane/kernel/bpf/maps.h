// SPDX-License-Identifier: Apache-2.0
//
// What the program answers from: the state, the configuration and the maps, which
// image.go and entry.go fill, and the place that a packet is looked at in.

#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_ZONES 16
#define MAX_ZONE 64    /* octets of a zone's wire format */
#define MAX_LABELS 40  /* of a name that is looked at: an IPv6 address's has 34 */
#define MAX_NAME 255   /* octets of a name, RFC 1035 §2.3.4 */
#define MAX_QUERY 512  /* octets of a message that is looked at */
#define MIN_QUERY 17   /* header and the root's question */
#define MAX_REPLY 1232 /* octets that any path takes in one piece (RFC 9715) */
#define MAX_SET 432    /* octets of the addresses of a name: 64 of IPv4 are fewer, 27 of IPv6 */
#define MAX_PTR 52     /* octets of a name for PTR */
#define HEADER 12      /* octets of a DNS header, RFC 1035 §4.1.1 */
#define QUESTION 4     /* octets of a question's type and class */
#define OPT 11         /* octets of an OPT record without options, RFC 6891 §6.1.2 */
#define SOA 54         /* octets of the SOA record of a cluster's zone */
#define RECORD 12      /* octets of a record that the question owns, without its data */

#define TYPE_A 1
#define TYPE_SOA 6
#define TYPE_PTR 12
#define TYPE_AAAA 28

#define FLAG_QR 0x8000
#define FLAG_AA 0x0400
#define FLAG_RD 0x0100
#define FLAG_AD 0x0020
#define FLAG_CD 0x0010
#define RCODE_NXDOMAIN 3

/* Verdicts (enum tcx_action_base of Linux 6.6, which older headers lack). */
#define TCX_NEXT -1
#define TCX_DROP 2
#define TCX_REDIRECT 7

/* Reasons for which a packet goes up; image.go has their names. */
enum reason {
	ANSWER,    /* it does not go up */
	PACKET,    /* not for us, or not as simple as those that are answered: not counted */
	SIZE,      /* shorter or longer than queries that are looked at */
	MESSAGE,   /* no plain query */
	EDNS,      /* an option, or a version other than 0 */
	CLASS,     /* other than IN */
	TYPE,      /* that the zone does not answer */
	ZONE,      /* no zone, or one that is somebody else's */
	NAME,      /* the zone itself, pods, endpoints, what has other records */
	UNCERTAIN, /* it is there, but not all that is known of it */
	NEGATIVE,  /* it is not there, or has no records, but others are to be asked, or a reason is given */
	CHANGING,  /* likewise, while names change */
	ROOM,      /* a longer reply than the client takes */
	BUSY,      /* another packet is being looked at on this CPU, or the kernel has no memory */
};

/* What is not known of a name's addresses, and what is. */
enum { UNKNOWN, NONE, ONE, MANY };

enum { UP, FORWARD, REVERSE4, REVERSE6 };

/* What a zone's replies are made of. Numbers are in network order where they end
 * up in a message. */
struct zone {
	__u8 wire[MAX_ZONE]; /* filled up with zeros, as target */
	__u8 target[MAX_ZONE];
	__u8 types[256]; /* 0: goes up; others: one more than the index of its counts */
	__u8 len, labels, target_len, kind;
	__u8 meter, negative, negative_edns, rotate;
	__be32 ttl, soa_ttl;
	__u16 bufsize; /* 0: none */
	__u16 pad;
};

struct config {
	__u64 key[2]; /* of SipHash */
	__u16 port;   /* network order */
	__u16 zones;
	__u32 pad;
	struct zone zone[MAX_ZONES];
};

/* What the state's word says. Between these bits and the serial, which is the lower
 * half, is a number that each change has another of. */
#define STATE_OPEN (1ULL << 63)
#define STATE_KNOWN (1ULL << 62)

/* Variables, and no constants, so that the program that is verified does not depend
 * on the configuration. */
struct config config SEC(".data.config");
volatile __u64 state SEC(".data.state");

struct address {
	__u64 word[2]; /* of IPv6, or of IPv4 mapped to it (RFC 4291 §2.5.5.2) */
};

struct key {
	__u64 word[2]; /* SipHash-2-4-128 of a name's labels */
};

/* The last 24 bits of an entry are a checksum: see check_fits. The kernel keeps entries of
 * a hash in classes of 96, 128, 192, 256, 512 octets, with 72 of its own and the key. */
struct name {
	__u8 v6[16];
	__u8 v4[4];
	__u8 known; /* two bits for A, two for AAAA */
	__u8 check[3];
};

struct pointer {
	__u8 labels[MAX_PTR];
	__u8 len;
	__u8 check[3];
};

struct set {
	__u8 addrs[MAX_SET];
	__u16 len; /* octets */
	__u16 pad;
	__u8 pad2;
	__u8 check[3];
};

#define NUM_CELLS (16 * 2 * 2 * 16 * 2) /* meter, family, DO, type, response code */

struct counts {
	__u64 cells[NUM_CELLS];
	__u64 passed[16]; /* enum reason */
};

/* A packet, as far as it is understood. */
struct work {
	__u32 busy;
	__u32 family; /* 4 or 6 */
	__u64 seen;   /* the state */
	__u32 at;     /* where in the packet the message begins */
	__u32 len;    /* octets of the query */
	__u32 name_len;
	__u32 labels; /* of the name, without the root's */
	__u32 type;
	__u32 flags;  /* of the header */
	__u32 has_opt;
	__u32 udp_size;
	__u32 edns_flags; /* DO and the others */
	__u32 zone;       /* its index */
	__u32 front;      /* labels in front of it */
	__u32 end;        /* of the reply, so far */
	__u32 sum;        /* of the query's octets */
	__u32 nxdomain;
	struct key key;
	struct name known;
	struct pointer pointer;
	struct set set;
	__u8 headers[64];  /* Ethernet's behind two octets, IP's, UDP's */
	__u8 name[512];    /* the question's, in lower case, and zeros */
	__u8 start[64];    /* of each label in it; the root's is the last */
	__u8 odd[4];       /* puts the name in a message at a multiple of 8 */
	__u8 message[2048 - 4];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} works SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counts SEC(".maps");

/* The addresses of this host that are answered at, and those that no packet can
 * have come from. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, __u8);
} locals SEC(".maps");

/* max_entries of these is the image's capacity. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key);
	__type(value, struct name);
} names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key);
	__type(value, struct set);
} sets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, struct pointer);
} pointers SEC(".maps");

/* Numbers in a message or an entry, wherever they stand. */
#define u16at(p) (*(__u16 *)(p))
#define u32at(p) (*(__u32 *)(p))
#define u64at(p) (*(__u64 *)(p))

/* Four and eight characters as a number in memory. */
#define CHARS4(a, b, c, d) ((__u32)(a) | (__u32)(b) << 8 | (__u32)(c) << 16 | (__u32)(d) << 24)
#define CHARS8(a, b, c, d, e, f, g, h) ((__u64)CHARS4(a, b, c, d) | (__u64)CHARS4(e, f, g, h) << 32)

/* look returns the state as it is after everything that was read before. Atomic
 * operations that return a value are full barriers; busy is 1 here. */
static __always_inline __u64 look(struct work *w)
{
	return __sync_val_compare_and_swap(&w->busy, 1, 1) == 1 ? state : 0;
}
