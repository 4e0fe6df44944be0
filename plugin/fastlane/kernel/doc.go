// Package kernel answers DNS queries in the Linux kernel, before a process wakes:
// a program at the ingress of a network interface (tcx, Linux 6.6) sends the
// replies that it surely knows out of the same interface, and leaves everything
// else to the sockets. It knows octets and names: whose they are, and what the
// rest of the server says of them, is the business of who fills it.
//
// The words, smallest to largest:
//
//   - name: the labels "<service>.<namespace>" or "<namespace>" in folded wire
//     format, without root, zone and "svc".
//   - [Set]: what is known of a name's addresses of one family.
//   - [Zone]: what is done with the questions at and below a zone.
//   - state: one word, which the program reads for every packet: whether it
//     answers, whether it may answer that a name does not exist, and the SOA's serial.
//   - [Image]: the program with all that it answers from.
//
// # What is certain
//
// A name that is not there does not exist. So every namespace and service is
// there, and who fills the Image says in the state that absence proves nothing
// while that is not so:
//
//  1. Before a change is published: State with serialKnown false; Set with the
//     zero [Name] for every name that the change touches. A name that appears is
//     known from now on, what goes is not answered any more.
//  2. The change is published to everybody else.
//  3. Set or Remove with what is so now; State with the new serial.
//
// The program reads the state before and after it has looked a name up. Only if
// it is the same word, and says so, does it answer that something does not exist.
// Each change of the state has a number, so that a word never comes back.
//
// An entry of a map can be overwritten while the program reads it (Linux gives
// the memory of deleted entries away at once). Every entry carries a checksum of its
// key and contents; one that does not fit goes up.
package kernel
