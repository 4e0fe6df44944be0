// SPDX-License-Identifier: Apache-2.0
//
// DNS messages: the question, its zone, and replies, which are made of the query in its
// place.

#pragma once

#include "maps.h"

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return sum + (sum >> 16);
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

/* Replies. */

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
