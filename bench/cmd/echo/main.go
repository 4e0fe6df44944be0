// Command echo is what no DNS server is faster than: a program at an interface's tcx
// ingress that sends each IPv4 datagram to a port back with the bit QR set, and
// nothing else. It needs root and Linux 6.6.
//
//	echo -interface veth0 -port 1053
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

func main() {
	name := flag.String("interface", "", "`name` of the interface")
	port := flag.Uint("port", 53, "`port` that is asked")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *name, uint16(*port)); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, port uint16) error {
	on, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	program, err := load(port)
	if err != nil {
		return err
	}
	defer program.Close()
	attached, err := link.AttachTCX(link.TCXOptions{Interface: on.Index, Program: program, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return fmt.Errorf("attaching to %s: %w", name, err)
	}
	<-ctx.Done()
	return attached.Close()
}

// Where things are in a datagram without VLAN tag and IP options, in octets: in
// Ethernet's header, IPv4's (RFC 791), UDP's and DNS' (RFC 1035 section 4.1.1).
const (
	macTo, macFrom, etherType        = 0, 6, 12
	ipVersion, ipFragment            = 14, 20
	ipProtocol, ipFrom, ipTo         = 23, 26, 30
	udpFrom, udpTo, udpSum, dnsFlags = 34, 36, 40, 44
	enough                           = 46 // of them all
)

// Fields of struct __sk_buff, linux/bpf.h.
const skbInterface, skbData, skbEnd = 40, 76, 80

const (
	tcxNext = -1   // TCX_NEXT: the datagram goes on as without the program
	qr      = 0x80 // a response, in the third octet of a message
)

// load returns the program. It leaves alone what is itself a response, so that two
// of its kind do not answer each other for ever.
func load(port uint16) (*ebpf.Program, error) {
	const context, packet, end, value, other = asm.R6, asm.R7, asm.R8, asm.R2, asm.R3
	const pass = "pass"
	// unless is a jump to pass unless what is at an offset is equal to want.
	unless := func(offset int16, size asm.Size, want int32) asm.Instructions {
		return asm.Instructions{asm.LoadMem(value, packet, offset, size), asm.JNE.Imm(value, want, pass)}
	}
	swap := func(a, b int16, size asm.Size) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(value, packet, a, size), asm.LoadMem(other, packet, b, size),
			asm.StoreMem(packet, a, other, size), asm.StoreMem(packet, b, value, size),
		}
	}
	code := asm.Instructions{
		asm.Mov.Reg(context, asm.R1),
		asm.LoadMem(packet, context, skbData, asm.Word),
		asm.LoadMem(end, context, skbEnd, asm.Word),
		asm.Mov.Reg(value, packet), asm.Add.Imm(value, enough), asm.JGT.Reg(value, end, pass),
	}
	for _, part := range []asm.Instructions{
		unless(etherType, asm.Half, network(0x0800)),
		unless(ipVersion, asm.Byte, 4<<4|5), // and a header of five words
		unless(ipProtocol, asm.Byte, syscall.IPPROTO_UDP),
		{asm.LoadMem(value, packet, ipFragment, asm.Half), asm.JSet.Imm(value, network(0x3fff), pass)},
		unless(udpTo, asm.Half, network(port)),
		{asm.LoadMem(value, packet, dnsFlags, asm.Byte), asm.JSet.Imm(value, qr, pass)},
		{asm.Or.Imm(value, qr), asm.StoreMem(packet, dnsFlags, value, asm.Byte)},
		{asm.StoreImm(packet, udpSum, 0, asm.Half)}, // none, which IPv4 allows (RFC 768)
		swap(macTo, macFrom, asm.Word), swap(macTo+4, macFrom+4, asm.Half),
		swap(ipFrom, ipTo, asm.Word), swap(udpFrom, udpTo, asm.Half),
		{asm.LoadMem(asm.R1, context, skbInterface, asm.Word), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return()},
		{asm.Mov.Imm(asm.R0, tcxNext).WithSymbol(pass), asm.Return()},
	} {
		code = append(code, part...)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "echo", Type: ebpf.SchedCLS, Instructions: code, License: "Dual MIT/GPL"})
	if err != nil {
		return nil, fmt.Errorf("loading the program: %w", err)
	}
	return program, nil
}

// network returns a number of two octets that has in memory the order of the
// network.
func network(v uint16) int32 {
	return int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)))
}
