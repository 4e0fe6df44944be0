// Package fastlane answers DNS messages in batches, before CoreDNS's plugin
// chain sees them, and hands the chain what it does not answer.
//
// Vocabulary, smallest to largest:
//
//	Responder  answers one message after the other, or declines
//	worker     a UDP socket, its Responder, and the dns.Server that takes what
//	           the Responder declined
//	stream     a TCP connection, the same way
//	Program    whom a lane works for: the Responders and the chain of one
//	           Corefile instance
//	Lane       the workers and the listener at one address, for as long as the
//	           process has a Program for them
//
// A lane lives longer than a Program: a reload puts a new Program in the place
// of the old one, and no socket is opened or closed for it.
//
// The package knows what a DNS message is only as far as its length: what it
// says is the Responder's business.
package fastlane
