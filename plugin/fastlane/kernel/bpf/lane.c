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

#include <linux/if_packet.h>

#include "entry.h"
#include "message.h"
#include "packet.h"

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

	if (w->labels != 32 + 2 || w->name_len != 2 * 32 + 10) /* so each has one octet */
		return 0;
	for (int i = 0; i < 32; i++) {
		__u8 c = w->name[i * 2 + 1];
		__u32 digit = c - '0', letter = c - 'a';

		if (digit > 9 && letter > 5)
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
