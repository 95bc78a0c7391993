package meshca

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"

	"meshca/clients/go/signingpb"
)

// Outcome is the answer to one request of a stream: a certificate with the present roots, or an
// error. For *Error of a refusal, Code is that of the item.
type Outcome struct {
	SVID  *signingpb.SignResponse
	Roots [][]byte
	Err   error
}

// SignStream has many certificates signed over one call, as fast as the server gives credits.
type SignStream struct {
	stream  signingpb.Signing_SignStreamClient
	cancel  context.CancelFunc
	release func()
	done    chan struct{}

	mutex   sync.Mutex
	wake    chan struct{}
	credits uint64
	next    uint64
	waiting map[string]chan Outcome
	roots   [][]byte
	err     error
}

// SignStream opens a stream. Open a new one after it has ended, and repeat what has no answer with
// the same request ID and key.
func (c *Client) SignStream(ctx context.Context) (*SignStream, error) {
	present, release, err := c.use()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := present.api().SignStream(ctx)
	if err != nil {
		cancel()
		release()
		return nil, errorOf(err, nil)
	}
	opened := &SignStream{
		stream: stream, cancel: cancel, release: release, done: make(chan struct{}),
		wake: make(chan struct{}), waiting: map[string]chan Outcome{},
	}
	go opened.receive()
	return opened, nil
}

// Sign waits for a credit, sends the request, and waits for its answer. It can be called from many
// goroutines at once: their requests share the stream.
func (s *SignStream) Sign(ctx context.Context, request *signingpb.SignRequest) (Outcome, error) {
	answer, err := s.send(ctx, request)
	if err != nil {
		return Outcome{}, err
	}
	select {
	case outcome := <-answer:
		return outcome, outcome.Err
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	}
}

// Close lets the server answer what was sent, and ends the stream.
func (s *SignStream) Close() error {
	s.mutex.Lock()
	err := s.stream.CloseSend()
	s.mutex.Unlock()
	<-s.done
	if s.err != nil && !errors.Is(s.err, io.EOF) {
		return s.err
	}
	return err
}

// Err tells why the stream has ended; nil: it has not.
func (s *SignStream) Err() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.err
}

func (s *SignStream) send(ctx context.Context, request *signingpb.SignRequest) (chan Outcome, error) {
	for {
		s.mutex.Lock()
		if s.err != nil {
			s.mutex.Unlock()
			return nil, s.err
		}
		if s.credits > 0 {
			break
		}
		wake := s.wake
		s.mutex.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer s.mutex.Unlock()
	s.credits--
	s.next++
	id := strconv.FormatUint(s.next, 36)
	answer := make(chan Outcome, 1)
	s.waiting[id] = answer
	// an error of the stream itself arrives in receive, with its trailers
	if err := s.stream.Send(&signingpb.SignStreamRequest{Id: id, Item: request}); err != nil && !errors.Is(err, io.EOF) {
		delete(s.waiting, id)
		return nil, err
	}
	return answer, nil
}

func (s *SignStream) receive() {
	defer close(s.done)
	defer s.release()
	defer s.cancel()
	for {
		message, err := s.stream.Recv()
		s.mutex.Lock()
		if err != nil {
			s.end(err)
			s.mutex.Unlock()
			return
		}
		s.take(message)
		s.mutex.Unlock()
	}
}

func (s *SignStream) take(message *signingpb.SignStreamResponse) {
	if len(message.RootsDer) > 0 {
		s.roots = message.RootsDer
	}
	if message.Credits > 0 {
		s.credits += uint64(message.Credits)
		s.wakeAll()
	}
	answer, known := s.waiting[message.Id]
	if !known {
		return
	}
	delete(s.waiting, message.Id)
	answer <- Outcome{SVID: message.Result.GetSvid(), Roots: s.roots, Err: RefusalOf(message.Result)}
}

func (s *SignStream) end(err error) {
	if errors.Is(err, io.EOF) {
		s.err = io.EOF
	} else {
		s.err = errorOf(err, s.stream.Trailer())
	}
	for id, answer := range s.waiting {
		delete(s.waiting, id)
		answer <- Outcome{Err: s.err}
	}
	s.wakeAll()
}

func (s *SignStream) wakeAll() {
	close(s.wake)
	s.wake = make(chan struct{})
}
