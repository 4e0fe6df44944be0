// SPDX-License-Identifier: Apache-2.0
//
// Answers DNS queries at the ingress of a network interface (tcx), from maps that
// the server fills. doc.go says what they hold and when that is certain; image.go
// has the other side of each struct here.
//
// Any packet that is not exactly what the program knows goes up the stack, as if the
// program were not there. Nothing of a packet is changed before the reply is whole.
//
//   lane          the state, and a place to work in
//   parse_packet  Ethernet, IPv4 or IPv6, UDP: is it for us?
//   parse_query   one question, perhaps an OPT: what dnswire.ParseQuery accepts
//   find_zone     the longest zone that the name is at or below
//   forward       <service>.<namespace>.svc.<zone>: addresses, NODATA, NXDOMAIN
//   reverse       the name of an address
//   send_reply    back to where it came from
//
// Functions that are not static are verified by the kernel once each, for any
// arguments; so each of them checks that its pointer is one. Indices are masked to
// the size of what they index where the verifier cannot know that they fit.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

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
	ANSWER,    /* it does not */
	PACKET,    /* fragments, options, sources that cannot be: not counted but for our port */
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

/* The last 24 bits of an entry are a checksum: see fits. The kernel keeps entries of
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

/* lower folds the letters among eight octets, as dnswire.lower8. */
static __always_inline __u64 lower(__u64 x)
{
	const __u64 ones = 0x0101010101010101ULL, tops = ones << 7;
	__u64 low = x & ~tops;
	__u64 from_a = low + ones * (0x80 - 'A');
	__u64 past_z = low + ones * (0x80 - 'Z' - 1);

	return x | ((from_a ^ past_z) & tops & ~x) >> 2;
}

/* SipHash-2-4 with 128 bits of output (Aumasson and Bernstein), of the folded name
 * from the octet from on, len octets: its key in the map names. Nobody who does
 * not know the image's key can choose two names with the same hash. */

#define ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))
#define ROUND                                                                        \
	do {                                                                         \
		v0 += v1, v1 = ROTATE(v1, 13), v1 ^= v0, v0 = ROTATE(v0, 32);        \
		v2 += v3, v3 = ROTATE(v3, 16), v3 ^= v2;                             \
		v0 += v3, v3 = ROTATE(v3, 21), v3 ^= v0;                             \
		v2 += v1, v1 = ROTATE(v1, 17), v1 ^= v2, v2 = ROTATE(v2, 32);        \
	} while (0)

int hash_labels(struct work *w, __u32 from, __u32 len)
{
	__u64 v0 = config.key[0] ^ 0x736f6d6570736575ULL;
	__u64 v1 = config.key[1] ^ 0x646f72616e646f6dULL ^ 0xee;
	__u64 v2 = config.key[0] ^ 0x6c7967656e657261ULL;
	__u64 v3 = config.key[1] ^ 0x7465646279746573ULL;
	__u64 last;
	__u8 *p;

	if (!w)
		return BUSY;
	p = w->name + (from & 255);
	for (int i = 0; i < 16; i++) { /* two labels of 64 octets */
		if ((i + 1) * 8 > len)
			break;
		__u64 m = u64at(p + i * 8);
		v3 ^= m;
		ROUND;
		ROUND;
		v0 ^= m;
	}
	last = u64at(p + (len & 0xf8));
	last &= (1ULL << (len & 7) * 8) - 1;
	last |= (__u64)len << 56;
	v3 ^= last;
	ROUND;
	ROUND;
	v0 ^= last;
	v2 ^= 0xee;
	ROUND;
	ROUND;
	ROUND;
	ROUND;
	w->key.word[0] = v0 ^ v1 ^ v2 ^ v3;
	v1 ^= 0xdd;
	ROUND;
	ROUND;
	ROUND;
	ROUND;
	w->key.word[1] = v0 ^ v1 ^ v2 ^ v3;
	return 0;
}

/* Entries carry a checksum of their key and contents, since the kernel may give the
 * memory of one that is deleted or replaced to another while it is read here. So an
 * entry is copied, and then the copy is looked at. */

#define CHECK_BITS (0xffffffULL << 40) /* of the last word */

static __always_inline __u64 mix(__u64 h, __u64 word)
{
	h = (h ^ word) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 32;
}

static __always_inline int check_fits(__u64 h, __u64 last)
{
	return !((mix(h, last & ~CHECK_BITS) ^ last) >> 40);
}

/* load_name copies the entry of w's key. NEGATIVE: there is none. */
int load_name(struct work *w)
{
	struct name *n;
	__u64 a, b, c;

	if (!w)
		return BUSY;
	n = bpf_map_lookup_elem(&names, &w->key);
	if (!n)
		return NEGATIVE;
	a = *(volatile __u64 *)n;
	b = *((volatile __u64 *)n + 1);
	c = *((volatile __u64 *)n + 2);
	if (!check_fits(mix(mix(mix(w->key.word[0], w->key.word[1]), a), b), c))
		return CHANGING;
	u64at(&w->known) = a;
	u64at((__u8 *)&w->known + 8) = b;
	u64at((__u8 *)&w->known + 16) = c;
	return 0;
}

/* load_set copies the addresses of w's key. */
int load_set(struct work *w)
{
	struct set *s;
	__u64 h, last;
	__u32 len;

	if (!w)
		return BUSY;
	s = bpf_map_lookup_elem(&sets, &w->key);
	if (!s)
		return CHANGING;
	last = *((volatile __u64 *)s + MAX_SET / 8);
	len = last & 0xffff;
	h = mix(w->key.word[0], w->key.word[1]);
	for (int i = 0; i < MAX_SET / 8; i++) {
		if (i * 8 >= len)
			break;
		__u64 word = *((volatile __u64 *)s + i);
		h = mix(h, word);
		u64at(w->set.addrs + i * 8) = word;
	}
	if (len > MAX_SET || !check_fits(h, last))
		return CHANGING;
	w->set.len = len;
	return 0;
}

/* load_pointer copies the name that addr has. */
int load_pointer(struct work *w)
{
	struct pointer *p;
	struct address *addr;
	__u64 h, word = 0;

	if (!w)
		return BUSY;
	addr = (struct address *)&w->key;
	p = bpf_map_lookup_elem(&pointers, addr);
	if (!p)
		return UNCERTAIN;
	h = mix(config.key[0] ^ addr->word[0], config.key[1] ^ addr->word[1]);
	for (int i = 0; i < 6; i++) {
		word = *((volatile __u64 *)p + i);
		h = mix(h, word);
		u64at((__u8 *)&w->pointer + i * 8) = word;
	}
	word = *((volatile __u64 *)p + 6);
	if (!check_fits(h, word))
		return CHANGING;
	u64at((__u8 *)&w->pointer + 48) = word;
	return w->pointer.len <= MAX_PTR ? 0 : CHANGING;
}

/* Packets. */

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return sum + (sum >> 16);
}

static __always_inline struct address mapped(__be32 v4)
{
	return (struct address){.word = {0, (__u64)v4 << 32 | bpf_htonl(0xffff)}};
}

static __always_inline int is_local(struct address *a)
{
	return bpf_map_lookup_elem(&locals, a) != NULL;
}

/* parse_ipv4 and parse_ipv6 are false for a packet that is not for us, or not as
 * simple as those that are answered. They set where the message is. */

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct work *w)
{
	struct iphdr *ip = (struct iphdr *)(w->headers + 2 + ETH_HLEN);
	struct udphdr *udp = (struct udphdr *)(ip + 1);
	struct address src, dst;
	__u32 len, first;

	if (bpf_skb_load_bytes(skb, 0, w->headers + 2, ETH_HLEN + sizeof(*ip) + sizeof(*udp)))
		return 0;
	if (udp->dest != config.port || ip->protocol != IPPROTO_UDP || *(__u8 *)ip != 0x45)
		return 0;
	len = bpf_ntohs(ip->tot_len);
	first = bpf_ntohl(ip->saddr) >> 24;
	if ((ip->frag_off & ~bpf_htons(0x4000)) || first == 0 || first == 127 || first >= 224)
		return 0;
	if (len < sizeof(*ip) + sizeof(*udp) || ETH_HLEN + len > skb->len || bpf_ntohs(udp->len) + sizeof(*ip) != len)
		return 0;
	if (fold(bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0)) != 0xffff)
		return 0;
	src = mapped(ip->saddr);
	dst = mapped(ip->daddr);
	if (!udp->source || !is_local(&dst) || is_local(&src))
		return 0;
	w->family = 4;
	w->at = ETH_HLEN + sizeof(*ip) + sizeof(*udp);
	w->len = len - sizeof(*ip) - sizeof(*udp);
	return 1;
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct work *w)
{
	struct ipv6hdr *ip = (struct ipv6hdr *)(w->headers + 2 + ETH_HLEN);
	struct udphdr *udp = (struct udphdr *)(ip + 1);
	struct address src, dst;
	__u32 len;

	if (bpf_skb_load_bytes(skb, 0, w->headers + 2, ETH_HLEN + sizeof(*ip) + sizeof(*udp)))
		return 0;
	if (udp->dest != config.port || ip->nexthdr != IPPROTO_UDP || *(__u8 *)ip >> 4 != 6)
		return 0;
	len = bpf_ntohs(ip->payload_len);
	if (len < sizeof(*udp) || ETH_HLEN + sizeof(*ip) + len > skb->len || udp->len != ip->payload_len || !udp->check)
		return 0;
	__builtin_memcpy(&src, &ip->saddr, sizeof(src));
	__builtin_memcpy(&dst, &ip->daddr, sizeof(dst));
	/* Unspecified, loopback, mapped; multicast. */
	if (!src.word[0] || !dst.word[0] || (src.word[0] & 0xff) == 0xff)
		return 0;
	if (!udp->source || !is_local(&dst) || is_local(&src))
		return 0;
	w->family = 6;
	w->at = ETH_HLEN + sizeof(*ip) + sizeof(*udp);
	w->len = len - sizeof(*udp);
	return 1;
}

int parse_packet(struct __sk_buff *skb, struct work *w)
{
	int ok = 0;

	if (!w)
		return BUSY;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		ok = parse_ipv4(skb, w);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		ok = parse_ipv6(skb, w);
	if (!ok || (w->headers[2 + ETH_ALEN] & 1)) /* a sender of several addresses */
		return PACKET;
	return 0;
}

/* parse_query reads a message, and has the name folded, with zeros behind it, and
 * the beginnings of its labels. */
int parse_query(struct __sk_buff *skb, struct work *w)
{
	__u32 off = 0, n = 0, len, end, rest;
	__u8 *m, *q;

	if (!w)
		return BUSY;
	len = w->len;
	if (len < MIN_QUERY || len > MAX_QUERY)
		return SIZE;
	m = w->message;
	if (bpf_skb_load_bytes(skb, w->at, m, len))
		return BUSY;
	w->flags = bpf_ntohs(u16at(m + 2));
	if (w->flags & ~(FLAG_RD | FLAG_AD | FLAG_CD))
		return MESSAGE;
	w->has_opt = m[11];
	if (u32at(m + 4) != bpf_htonl(0x10000) || u32at(m + 8) != bpf_htonl(w->has_opt) || w->has_opt > 1)
		return MESSAGE;

	/* What is behind the message's end is there from others; the length is looked at below. */
	for (n = 0; n <= MAX_LABELS; n++) {
		__u32 c = m[HEADER + (off & 255)];

		w->start[n & 63] = off;
		if (!c)
			break;
		off += 1 + c;
		if (c > 63 || off >= MAX_NAME)
			return MESSAGE;
	}
	if (n > MAX_LABELS)
		return NAME;
	w->labels = n;
	w->name_len = off + 1;
	end = HEADER + off + 1 + QUESTION;
	if (len < end)
		return MESSAGE;
	q = m + HEADER + (off & 255) + 1;
	w->type = bpf_ntohs(u16at(q));
	rest = len - end;
	if (w->has_opt) {
		if (rest < OPT || q[4] || u16at(q + 5) != bpf_htons(41))
			return MESSAGE;
		w->udp_size = bpf_ntohs(u16at(q + 7));
		w->edns_flags = bpf_ntohs(u16at(q + 11));
		if (rest > OPT || u16at(q + 13) || q[10])
			return EDNS;
	} else if (rest) {
		return MESSAGE;
	}
	if (u16at(q + 2) != bpf_htons(1))
		return CLASS;
	if (w->type > 255)
		return TYPE;

	for (int i = 0; i < 32; i++) {
		if (i * 8 > off)
			break;
		u64at(w->name + i * 8) = lower(u64at(m + HEADER + i * 8));
	}
	for (int i = 0; i < MAX_ZONE / 8; i++)
		u64at(w->name + (off & 255) + i * 8) = 0;
	return 0;
}

/* find_zone finds the longest zone, which is the first, that the name is at or below. */
int find_zone(struct work *w)
{
	if (!w)
		return BUSY;
	for (__u32 i = 0; i < MAX_ZONES; i++) {
		struct zone *z = &config.zone[i];
		__u32 front = w->labels - z->labels, at;
		__u64 differ = 0;

		if (i >= config.zones)
			break;
		if (z->labels > w->labels)
			continue;
		at = w->start[front & 63];
		if (at + z->len != w->name_len)
			continue;
		for (int j = 0; j < MAX_ZONE / 8; j++)
			differ |= u64at(w->name + at + j * 8) ^ u64at(z->wire + j * 8);
		if (differ)
			continue;
		if (z->kind == UP)
			return ZONE;
		w->zone = i;
		w->front = front;
		return z->types[w->type & 255] ? 0 : TYPE;
	}
	return ZONE;
}

/* Replies. They are made of the query, in its place. */

static __always_inline struct zone *zone_of(struct work *w)
{
	return &config.zone[w->zone & (MAX_ZONES - 1)];
}

/* sum adds up the first len octets of the message, as checksums do (RFC 1071). */
static __always_inline __u32 sum(struct work *w, __u32 len)
{
	__u32 total = 0;

	if (len > MAX_REPLY)
		return 0;
	u32at(w->message + len) = 0;
	len = (len + 3) & ~3;
	for (int i = 0; i < 3; i++) { /* the helper takes no more at once */
		__u32 n = len;

		if (n > 512)
			n = 512;
		total = bpf_csum_diff(NULL, 0, (__be32 *)(w->message + i * 512), n, total);
		len -= n;
	}
	return total;
}

/* begin makes room for size octets of records. */
static __always_inline int begin(struct work *w, __u32 size)
{
	struct zone *z = zone_of(w);
	__u32 limit = 512, end = HEADER + w->name_len + QUESTION;

	if (w->has_opt) {
		if (z->bufsize && w->udp_size > z->bufsize)
			w->udp_size = z->bufsize;
		if (w->udp_size > limit)
			limit = w->udp_size;
		if (limit > MAX_REPLY)
			limit = MAX_REPLY;
		size += OPT;
	}
	if (end + size > limit)
		return ROOM;
	w->sum = sum(w, w->len);
	w->end = end;
	return 0;
}

/* records returns where they begin, behind the question. */
static __always_inline __u8 *records(struct work *w)
{
	return w->message + (w->end & 511);
}

/* finish adds the OPT record and completes the header. */
static __always_inline void finish(struct work *w, __u32 answers, __u32 authority, __u32 rcode)
{
	__u8 *m = w->message, *p = m + (w->end <= MAX_REPLY ? w->end : 0);

	if (w->has_opt) {
		p[0] = 0;
		u16at(p + 1) = bpf_htons(41);
		u16at(p + 3) = bpf_htons(w->udp_size);
		u16at(p + 5) = 0;
		u16at(p + 7) = bpf_htons(w->edns_flags & 0xff00); /* as coredns request.SizeAndDo has them */
		u16at(p + 9) = 0;
		w->end += OPT;
	}
	u16at(m + 2) = bpf_htons(FLAG_QR | FLAG_AA | (w->flags & (FLAG_RD | FLAG_CD)) | rcode);
	u16at(m + 6) = bpf_htons(answers);
	u16at(m + 8) = bpf_htons(authority);
	w->nxdomain = rcode == RCODE_NXDOMAIN;
}

/* head writes a record of the question's name, up to its data. */
static __always_inline void head(__u8 *p, __u32 type, __be32 ttl, __u32 len)
{
	u32at(p) = bpf_htonl((0xc000 | HEADER) << 16 | type);
	u16at(p + 4) = bpf_htons(1);
	u32at(p + 6) = ttl;
	u16at(p + 10) = bpf_htons(len);
}

/* negative makes a reply without records, with the zone's SOA, if nothing has changed
 * since the state was read, before the name was looked up. */
int negative(struct work *w, __u32 rcode)
{
	struct zone *z;
	__u8 *p;
	__u32 why, at;

	if (!w)
		return BUSY;
	z = zone_of(w);
	if (w->type == TYPE_SOA) /* is never NXDOMAIN */
		return NAME;
	if ((rcode && !z->negative) || (w->has_opt && !z->negative_edns))
		return NEGATIVE;
	if (!(w->seen & STATE_KNOWN) || look(w) != w->seen)
		return CHANGING;
	why = begin(w, SOA);
	if (why)
		return why;
	at = bpf_htons(0xc000 | (HEADER + w->start[w->front & 63]));
	p = records(w);
	u16at(p) = at;
	u32at(p + 2) = bpf_htonl(TYPE_SOA << 16 | 1);
	u32at(p + 6) = z->soa_ttl;
	u16at(p + 10) = bpf_htons(SOA - RECORD);
	/* ns.dns.<zone>, hostmaster.<zone> */
	u32at(p + 12) = CHARS4(2, 'n', 's', 3);
	u32at(p + 16) = CHARS4('d', 'n', 's', 0);
	u16at(p + 19) = at;
	u64at(p + 21) = CHARS8(10, 'h', 'o', 's', 't', 'm', 'a', 's');
	u32at(p + 29) = CHARS4('t', 'e', 'r', 0);
	u16at(p + 32) = at;
	/* Serial, refresh, retry, expire, minimum. */
	u32at(p + 34) = bpf_htonl((__u32)w->seen);
	u32at(p + 38) = bpf_htonl(7200);
	u32at(p + 42) = bpf_htonl(1800);
	u32at(p + 46) = bpf_htonl(86400);
	u32at(p + 50) = z->ttl;
	w->end += SOA;
	finish(w, 0, 1, rcode);
	return 0;
}

/* first returns at which of n addresses an answer begins. */
static __always_inline __u32 first(struct work *w, __u32 n)
{
	return n > 1 && zone_of(w)->rotate ? bpf_get_prandom_u32() % n : 0;
}

/* addresses answers with w's set. */
int addresses(struct work *w)
{
	__u32 why, n, j;
	__be32 ttl;
	__u8 *p;

	if (!w)
		return BUSY;
	ttl = zone_of(w)->ttl;
	if (w->type == TYPE_A) {
		n = w->set.len / 4;
		if ((why = begin(w, n * (RECORD + 4))))
			return why;
		p = records(w);
		j = first(w, n);
		for (int i = 0; i < 64; i++) {
			if (i >= n)
				break;
			head(p + i * (RECORD + 4), TYPE_A, ttl, 4);
			u32at(p + i * (RECORD + 4) + RECORD) = u32at(w->set.addrs + (j & 63) * 4);
			if (++j >= n)
				j = 0;
		}
		w->end += n * (RECORD + 4);
	} else {
		n = w->set.len / 16;
		if ((why = begin(w, n * (RECORD + 16))))
			return why;
		p = records(w);
		j = first(w, n);
		for (int i = 0; i < 27; i++) {
			if (i >= n)
				break;
			head(p + i * (RECORD + 16), TYPE_AAAA, ttl, 16);
			u64at(p + i * (RECORD + 16) + RECORD) = u64at(w->set.addrs + (j & 31) * 16);
			u64at(p + i * (RECORD + 16) + RECORD + 8) = u64at(w->set.addrs + (j & 31) * 16 + 8);
			if (++j >= n)
				j = 0;
		}
		w->end += n * (RECORD + 16);
	}
	finish(w, n, 0, 0);
	return 0;
}

/* forward answers for a name in a cluster's zone. */
int forward(struct work *w)
{
	__u32 n, last, from, why, word, what;
	__u8 *p;

	if (!w)
		return BUSY;
	n = w->front;
	if (!n)
		return NAME;
	last = w->start[(n - 1) & 63];
	p = w->name + last;
	word = u32at(p);
	if (word == CHARS4(3, 'p', 'o', 'd') || word == CHARS4(3, 'd', 'n', 's') ||
	    (u64at(p) == CHARS8(11, 'd', 'n', 's', '-', 'v', 'e', 'r') && u32at(p + 8) == CHARS4('s', 'i', 'o', 'n')))
		return NAME;
	if (word != CHARS4(3, 's', 'v', 'c'))
		return negative(w, RCODE_NXDOMAIN);
	if (n == 1)
		return NAME;
	if (n == 2) {
		from = w->start[0];
		hash_labels(w, from, last - from);
		why = load_name(w);
		return why == NEGATIVE ? negative(w, RCODE_NXDOMAIN) : why ? why : NAME;
	}
	from = w->start[(n - 3) & 63];
	hash_labels(w, from, last - from);
	why = load_name(w);
	if (why)
		return why == NEGATIVE ? negative(w, RCODE_NXDOMAIN) : why;
	if (n != 3)
		return NAME;

	what = w->known.known;
	if (w->type == TYPE_A) {
		u32at(w->set.addrs) = u32at(w->known.v4);
		w->set.len = 4;
	} else if (w->type == TYPE_AAAA) {
		u64at(w->set.addrs) = u64at(w->known.v6);
		u64at(w->set.addrs + 8) = u64at(w->known.v6 + 8);
		w->set.len = 16;
		what >>= 2;
	} else {
		return NAME;
	}
	what &= 3;
	if (what == UNKNOWN)
		return UNCERTAIN;
	if (what == MANY) {
		if (w->type == TYPE_AAAA)
			w->key.word[1] ^= 1;
		why = load_set(w);
		if (why)
			return why;
	}
	/* Its namespace. */
	from = w->start[1];
	hash_labels(w, from, last - from);
	if (!bpf_map_lookup_elem(&names, &w->key))
		return UNCERTAIN;
	return what == NONE ? negative(w, 0) : addresses(w);
}

/* reverse_ipv4 and reverse_ipv6 read the address that a name stands for (RFC 1035
 * §3.5, RFC 3596 §2.5), spelled as it has to be. */

static __always_inline int reverse_ipv4(struct work *w)
{
	__u32 addr = 0;

	if (w->labels != 4 + 2)
		return 0;
	for (int i = 0; i < 4; i++) {
		__u8 *p = w->name + w->start[i];
		__u32 len = p[0], value = 0;

		if (len < 1 || len > 3 || (len > 1 && p[1] == '0'))
			return 0;
		for (int j = 1; j <= 3; j++) {
			__u32 digit = p[j] - '0';

			if (j > len)
				break;
			if (digit > 9)
				return 0;
			value = value * 10 + digit;
		}
		if (value > 255)
			return 0;
		addr = addr << 8 | value; /* the last octet comes first */
	}
	*(struct address *)&w->key = mapped(addr);
	return 1;
}

static __always_inline int reverse_ipv6(struct work *w)
{
	__u64 half = 0;

	if (w->labels != 32 + 2 || w->name_len != 2 * 32 + 10)
		return 0;
	for (int i = 0; i < 32; i++) {
		__u8 *p = w->name + i * 2;
		__u32 digit = p[1] - '0', letter = p[1] - 'a';

		if (p[0] != 1 || (digit > 9 && letter > 5))
			return 0;
		half = half >> 4 | (__u64)(digit > 9 ? letter + 10 : digit) << 60;
		if (i == 15)
			w->key.word[1] = bpf_cpu_to_be64(half);
	}
	w->key.word[0] = bpf_cpu_to_be64(half);
	return 1;
}

/* reverse answers for the name of an address. */
int reverse(struct work *w)
{
	struct zone *z;
	__u32 why, len;
	__u8 *p;

	if (!w)
		return BUSY;
	z = zone_of(w);
	if (w->type != TYPE_PTR || !(z->kind == REVERSE4 ? reverse_ipv4(w) : reverse_ipv6(w)))
		return NAME;
	why = load_pointer(w);
	if (why)
		return why;
	len = w->pointer.len;
	if (len > MAX_PTR)
		return CHANGING;
	why = begin(w, RECORD + len + z->target_len);
	if (why)
		return why;
	p = records(w);
	head(p, TYPE_PTR, z->ttl, len + z->target_len);
	p += RECORD;
	for (int i = 0; i < 7; i++)
		u64at(p + i * 8) = u64at(w->pointer.labels + i * 8);
	p += len;
	for (int i = 0; i < MAX_ZONE / 8; i++)
		u64at(p + i * 8) = u64at(z->target + i * 8);
	w->end += RECORD + len + z->target_len;
	finish(w, 1, 0, 0);
	return 0;
}

/* turn_ipv4 and turn_ipv6 turn the headers around, for a message of len octets, and
 * return UDP's. */

static __always_inline struct udphdr *turn_ipv4(struct work *w, __u32 len)
{
	struct iphdr *ip = (struct iphdr *)(w->headers + 2 + ETH_HLEN);
	__be32 src = ip->saddr;

	len += sizeof(*ip) + sizeof(struct udphdr);
	ip->tos = 0;
	ip->tot_len = bpf_htons(len);
	/* What any path carries needs no number (RFC 6864); the rest routers may take apart. */
	ip->id = len > 576 ? bpf_get_prandom_u32() : 0;
	ip->frag_off = len > 576 ? 0 : bpf_htons(0x4000);
	ip->ttl = 64;
	ip->check = 0;
	ip->saddr = ip->daddr;
	ip->daddr = src;
	ip->check = ~fold(bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));
	return (struct udphdr *)(ip + 1);
}

static __always_inline struct udphdr *turn_ipv6(struct work *w, __u32 len)
{
	struct ipv6hdr *ip = (struct ipv6hdr *)(w->headers + 2 + ETH_HLEN);
	struct in6_addr src = ip->saddr;

	u32at(ip) = bpf_htonl(6 << 28);
	ip->payload_len = bpf_htons(len + sizeof(struct udphdr));
	ip->hop_limit = 64;
	ip->saddr = ip->daddr;
	ip->daddr = src;
	return (struct udphdr *)(ip + 1);
}

/* send_reply makes the packet the reply's and sends it back.
 *
 * The checksum is the query's, changed by what the reply has otherwise: a query whose
 * checksum was wrong gets a reply that nobody takes. Where the sender left it to the
 * device (CHECKSUM_PARTIAL) it has only the sum of the pseudo header, in which the
 * length changes, and bpf_l4_csum_replace knows. Over IPv4 it may be missing, and stays so. */
int send_reply(struct __sk_buff *skb, struct work *w)
{
	__u32 end, headers, check, changed;
	struct udphdr *udp;
	__be16 old_len, port;
	__u8 mac[ETH_ALEN];

	if (!w)
		return TCX_NEXT;
	end = w->end;
	headers = w->at - sizeof(udp->check);
	if (headers < ETH_HLEN || headers > sizeof(w->headers) - 2 || end < MIN_QUERY || end > MAX_REPLY ||
	    bpf_skb_change_tail(skb, w->at + end, 0))
		return TCX_NEXT;
	if (bpf_skb_store_bytes(skb, w->at, w->message, end, 0))
		return TCX_DROP;

	if (w->family == 4)
		udp = turn_ipv4(w, end);
	else
		udp = turn_ipv6(w, end);
	port = udp->source;
	udp->source = udp->dest;
	udp->dest = port;
	old_len = udp->len;
	udp->len = bpf_htons(end + sizeof(*udp));
	__builtin_memcpy(mac, w->headers + 2, ETH_ALEN);
	__builtin_memcpy(w->headers + 2, w->headers + 2 + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(w->headers + 2 + ETH_ALEN, mac, ETH_ALEN);

	changed = fold(sum(w, end)) + (__u16)~fold(w->sum);
	changed = fold(changed) + (__u32)udp->len + (__u16)~old_len;
	check = w->at - sizeof(udp->check);
	if (bpf_skb_store_bytes(skb, 0, w->headers + 2, headers, 0) ||
	    bpf_l4_csum_replace(skb, check, 0, changed, BPF_F_MARK_MANGLED_0) ||
	    bpf_l4_csum_replace(skb, check, old_len, udp->len, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | sizeof(old_len)))
		return TCX_DROP;
	return bpf_redirect(skb->ifindex, 0);
}

/* answer makes the reply to a packet, or says why it goes up. */
static __always_inline int answer(struct __sk_buff *skb, struct work *w)
{
	int why;

	if ((why = parse_query(skb, w)) || (why = find_zone(w)))
		return why;
	return zone_of(w)->kind == FORWARD ? forward(w) : reverse(w);
}

static __always_inline int handle(struct __sk_buff *skb, struct work *w)
{
	struct counts *c;
	struct zone *z;
	__u32 zero = 0, cell;
	int why, verdict = TCX_NEXT;

	if (parse_packet(skb, w))
		return TCX_NEXT;
	c = bpf_map_lookup_elem(&counts, &zero);
	if (!c)
		return TCX_NEXT;
	why = answer(skb, w);
	if (!why) {
		verdict = send_reply(skb, w);
		if (verdict == TCX_REDIRECT) {
			z = zone_of(w);
			cell = z->meter << 1 | (w->family == 6);
			cell = cell << 1 | (w->has_opt && w->edns_flags >> 15);
			cell = cell << 4 | ((z->types[w->type & 255] - 1) & 15);
			cell = cell << 1 | w->nxdomain;
			c->cells[cell & (NUM_CELLS - 1)]++;
			return verdict;
		}
		why = BUSY;
	}
	c->passed[why & 15]++;
	return verdict;
}

SEC("tcx/ingress")
int lane(struct __sk_buff *skb)
{
	__u64 seen = state;
	__u32 zero = 0;
	struct work *w;
	int verdict;

	if (!(seen & STATE_OPEN) || skb->pkt_type != PACKET_HOST || skb->vlan_present || skb->gso_size)
		return TCX_NEXT;
	w = bpf_map_lookup_elem(&works, &zero);
	/* Where the kernel lets one packet interrupt another (PREEMPT_RT), the second goes up.
	 * This is also what keeps lookups behind the state's read. */
	if (!w || __sync_val_compare_and_swap(&w->busy, 0, 1))
		return TCX_NEXT;
	w->seen = seen;
	verdict = handle(skb, w);
	w->busy = 0;
	return verdict;
}

/* No helper that is called here is for programs under the GPL alone. */
char _license[] SEC("license") = "Apache-2.0";
