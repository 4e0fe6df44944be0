// SPDX-License-Identifier: Apache-2.0
//
// Looking up what is known of a name or an address.

#pragma once

#include "maps.h"

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
