package meshca

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"meshca/clients/go/workloadpb"
)

// refusingAgent has no identity for anybody.
type refusingAgent struct {
	workloadpb.UnimplementedSpiffeWorkloadAPIServer
	asked chan struct{}
}

func (a *refusingAgent) FetchX509SVID(_ *workloadpb.X509SVIDRequest, stream grpc.ServerStreamingServer[workloadpb.X509SVIDResponse]) error {
	stream.SetTrailer(metadata.Pairs("meshca-code", "NO_IDENTITY", "meshca-next", "create an entry"))
	select {
	case a.asked <- struct{}{}:
	default:
	}
	return &Error{Status: codes.PermissionDenied, Message: "no entry matches"}
}

func TestASourceWithoutIdentityTellsWhatTheAgentAnswered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "workload.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	agent := &refusingAgent{asked: make(chan struct{}, 2)}
	server := grpc.NewServer()
	workloadpb.RegisterSpiffeWorkloadAPIServer(server, agent)
	go server.Serve(listener)
	defer server.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		// the second question shows that the first answer was read
		<-agent.asked
		<-agent.asked
		cancel()
	}()
	_, err = NewWorkloadSource(ctx, "unix://"+path)
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != "NO_IDENTITY" || !strings.Contains(err.Error(), "create an entry") {
		t.Error(err)
	}
}
