// SPDX-License-Identifier: Apache-2.0
//
// Packets: whether one is for us, and the way back.

#pragma once

#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include "message.h"

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
