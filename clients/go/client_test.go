package meshca

import (
	"encoding/hex"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestTheDigestOfASetDependsOnItsMembersAlone(t *testing.T) {
	one, two := []byte("one"), []byte("two")
	first := hex.EncodeToString(SetDigest([][]byte{one, two}))
	if again := hex.EncodeToString(SetDigest([][]byte{two, one})); first != again {
		t.Errorf("%s differs from %s", first, again)
	}
	if other := hex.EncodeToString(SetDigest([][]byte{one})); first == other {
		t.Error("a member is not counted")
	}
}

func TestTrailersBecomeAnError(t *testing.T) {
	trailer := metadata.Pairs("meshca-code", "OUTSIDE_DELEGATION", "meshca-next", "ask", "meshca-refusal-id", "r1")
	err := errorOf(status.Error(codes.PermissionDenied, "no"), trailer)
	var refusal *Error
	if !errors.As(err, &refusal) {
		t.Fatalf("%v is no *Error", err)
	}
	want := Error{Status: codes.PermissionDenied, Code: "OUTSIDE_DELEGATION", Message: "no", Next: "ask", RefusalID: "r1"}
	if *refusal != want || refusal.Retryable() {
		t.Errorf("%+v", refusal)
	}
}

func TestAFailureWithoutACodeIsNamedByItsStatus(t *testing.T) {
	err := errorOf(status.Error(codes.Unavailable, "nobody answers"), metadata.MD{})
	if text := err.Error(); text != "Unavailable: nobody answers" {
		t.Error(text)
	}
}
