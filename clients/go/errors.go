package meshca

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"meshca/clients/go/signingpb"
)

// Error is a refusal or failure as the server tells it. Decide by Code, or by Status for a code that
// you do not know; the texts can change.
type Error struct {
	Status    codes.Code
	Code      string
	Message   string
	Next      string
	RequestID string
	RefusalID string
}

func (e *Error) Error() string {
	name := e.Code
	if name == "" {
		// the server did not answer
		name = e.Status.String()
	}
	if e.Next == "" {
		return fmt.Sprintf("%s: %s", name, e.Message)
	}
	return fmt.Sprintf("%s: %s (%s)", name, e.Message, e.Next)
}

// Retryable tells whether the same request, with the same ID and key, can succeed later.
func (e *Error) Retryable() bool {
	return e.Status == codes.Unavailable || e.Status == codes.Aborted ||
		e.Status == codes.DeadlineExceeded || e.Code == "RATE_LIMITED"
}

// GRPCStatus lets status.FromError find the status.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Status, e.Message) }

// errorOf reads the trailers of a call that failed.
func errorOf(err error, trailer metadata.MD) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	found, ok := status.FromError(err)
	if !ok {
		return err
	}
	first := func(name string) string {
		if values := trailer.Get(name); len(values) > 0 {
			return values[0]
		}
		return ""
	}
	return &Error{
		Status:    found.Code(),
		Code:      first("meshca-code"),
		Message:   found.Message(),
		Next:      first("meshca-next"),
		RequestID: first("meshca-request-id"),
		RefusalID: first("meshca-refusal-id"),
	}
}

// refusalOf is the refusal of one item of a batch or stream.
func refusalOf(refusal *signingpb.SignRefusal) *Error {
	return &Error{
		Status:    codes.Unknown,
		Code:      refusal.Code,
		Message:   refusal.Message,
		Next:      refusal.Next,
		RefusalID: refusal.RefusalId,
	}
}
