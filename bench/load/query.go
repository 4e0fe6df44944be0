package load

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/miekg/dns"

	"github.com/clusterdns/clusterdns/bench/question"
)

// query is a message that is ready to be sent but for its ID.
type query struct {
	question question.Question
	frame    []byte // the message behind its length in two octets, as TCP has it (RFC 1035 section 4.2.2)
	end      int    // of the question section, in the message

	// right is the reply that was last found right, without ID and question.
	// Most replies are like the one before, and comparing is cheaper than
	// parsing.
	right []byte
}

// Offsets of a query's parts in its frame.
const (
	frameID      = 2
	frameMessage = 2
	headerLength = 12
)

// Bits in the third octet of a message.
const (
	response  = 0x80
	truncated = 0x02
)

func newQuery(q question.Question) (*query, error) {
	m := new(dns.Msg)
	m.SetQuestion(q.Name, q.Type)
	m.Id = 0
	wire, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("packing the question %s: %w", q, err)
	}
	_, end, err := dns.UnpackDomainName(wire, headerLength)
	if err != nil {
		return nil, fmt.Errorf("packing the question %s: %w", q, err)
	}
	frame := binary.BigEndian.AppendUint16(nil, uint16(len(wire)))
	return &query{question: q, frame: append(frame, wire...), end: end + 4}, nil
}

// isAnsweredBy tells whether a message with the query's ID has its question.
func (q *query) isAnsweredBy(message []byte) bool {
	if binary.BigEndian.Uint16(message[4:]) == 0 {
		return true // an error, without the question that was none to the server
	}
	return len(message) >= q.end &&
		bytes.EqualFold(message[headerLength:q.end], q.frame[frameMessage+headerLength:frameMessage+q.end])
}

// check returns what is wrong with a reply, or "".
func (q *query) check(message []byte) string {
	if q.isRight(message) {
		return ""
	}
	m := new(dns.Msg)
	if err := m.Unpack(message); err != nil {
		return fmt.Sprintf("got a malformed message: %v", err)
	}
	if err := q.question.Check(m); err != nil {
		return err.Error()
	}
	if len(m.Question) == 1 {
		q.right = append(append(q.right[:0], message[2:headerLength]...), message[q.end:]...)
	}
	return ""
}

// isRight tells whether a reply is the one that was right before. The question
// has been compared already.
func (q *query) isRight(message []byte) bool {
	return len(q.right) > 0 && len(message) == len(q.right)+2+q.end-headerLength &&
		bytes.Equal(message[2:headerLength], q.right[:headerLength-2]) &&
		bytes.Equal(message[q.end:], q.right[headerLength-2:])
}
