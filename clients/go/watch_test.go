package meshca

import (
	"context"
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"meshca/clients/go/signingpb"
)

// endedStream is one that the server has refused, with a message that nobody has read yet. As in
// gRPC its trailers are there only after Recv has returned an error.
type endedStream struct {
	grpc.ClientStream
	t      *testing.T
	unread int
	over   bool
}

func (s *endedStream) Send(*signingpb.WatchBundleRequest) error { return io.EOF }

func (s *endedStream) Recv() (*signingpb.WatchBundleResponse, error) {
	if s.unread > 0 {
		s.unread--
		return &signingpb.WatchBundleResponse{}, nil
	}
	s.over = true
	return nil, status.Error(codes.PermissionDenied, "no")
}

func (s *endedStream) Trailer() metadata.MD {
	if !s.over {
		s.t.Error("the trailers were read before the end of the stream")
	}
	return metadata.Pairs("meshca-code", "OUTSIDE_DELEGATION")
}

func TestAFailedSendTellsWhatEndedTheStream(t *testing.T) {
	for name, outcome := range map[string]func(*endedStream) error{
		"the first message": func(stream *endedStream) error {
			return send(stream, &signingpb.WatchBundleRequest{})
		},
		"a report": func(stream *endedStream) error {
			apply := func(context.Context, Bundle) (Holdings, error) { return Holdings{}, nil }
			return follow(context.Background(), stream, WatchOptions{Apply: apply}, newBackoff())
		},
	} {
		var refusal *Error
		err := outcome(&endedStream{t: t, unread: 2})
		if !errors.As(err, &refusal) || refusal.Code != "OUTSIDE_DELEGATION" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestABundleThatIsNotAppliedEndsTheStreamWithItsReason(t *testing.T) {
	reason := errors.New("the disk is full")
	apply := func(context.Context, Bundle) (Holdings, error) { return Holdings{}, reason }
	err := follow(context.Background(), &endedStream{t: t, unread: 1}, WatchOptions{Apply: apply}, newBackoff())
	if !errors.Is(err, reason) {
		t.Error(err)
	}
}
