package meshca

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"meshca/clients/go/workloadpb"
)

// Identity is what this program presents, and the roots under which it verifies the server.
type Identity struct {
	Certificate tls.Certificate
	Roots       []*x509.Certificate
}

// Source gives the present identity. Its certificate is renewed by whoever stands behind it.
type Source interface {
	Identity() (*Identity, error)
	// Changed is closed when the identity is no longer the present one.
	Changed() <-chan struct{}
	Close() error
}

// held is an identity that changes. It owns the channel that tells so.
type held struct {
	mutex    sync.Mutex
	identity *Identity
	changed  chan struct{}
	// why there is no identity
	failure error
}

func newHeld() *held { return &held{changed: make(chan struct{})} }

func (h *held) Identity() (*Identity, error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.identity == nil {
		return nil, errors.New("meshca: the source has no identity yet")
	}
	return h.identity, nil
}

func (h *held) Changed() <-chan struct{} {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.changed
}

func (h *held) set(identity *Identity) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.identity, h.failure = identity, nil
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *held) fail(err error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.failure = err
}

func (h *held) lastFailure() error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.failure
}

// WorkloadSource takes the identity from an agent's SPIFFE Workload API, which renews it.
type WorkloadSource struct {
	*held
	connection *grpc.ClientConn
	cancel     context.CancelFunc
	done       chan struct{}
}

// NewWorkloadSource waits for the first identity, until the context ends. Its error then says what
// the agent answered last. The address is that of a Unix socket, as in SPIFFE_ENDPOINT_SOCKET
// (unix:///run/meshca/workload.sock).
func NewWorkloadSource(ctx context.Context, address string) (*WorkloadSource, error) {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.Background())
	source := &WorkloadSource{held: newHeld(), connection: connection, cancel: cancel, done: make(chan struct{})}
	first := source.Changed()
	go source.follow(running)
	select {
	case <-first:
		return source, nil
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), source.lastFailure(), source.Close())
	}
}

func (s *WorkloadSource) Close() error {
	s.cancel()
	<-s.done
	return s.connection.Close()
}

func (s *WorkloadSource) follow(ctx context.Context) {
	defer close(s.done)
	api := workloadpb.NewSpiffeWorkloadAPIClient(s.connection)
	ctx = metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", "true")
	for wait := newBackoff(); ctx.Err() == nil; wait.sleep(ctx) {
		stream, err := api.FetchX509SVID(ctx, &workloadpb.X509SVIDRequest{})
		for err == nil {
			var message *workloadpb.X509SVIDResponse
			if message, err = stream.Recv(); err != nil {
				err = errorOf(err, stream.Trailer())
				break
			}
			var identity *Identity
			if identity, err = identityOf(message); err != nil {
				break
			}
			wait.reset()
			s.set(identity)
		}
		s.fail(err)
	}
}

func identityOf(message *workloadpb.X509SVIDResponse) (*Identity, error) {
	if len(message.Svids) == 0 {
		return nil, errors.New("meshca: the agent gave no identity")
	}
	svid := message.Svids[0]
	chain, err := x509.ParseCertificates(svid.X509Svid)
	if err != nil || len(chain) == 0 {
		return nil, fmt.Errorf("meshca: the chain of the identity: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(svid.X509SvidKey)
	if err != nil {
		return nil, fmt.Errorf("meshca: the key of the identity: %w", err)
	}
	roots, err := x509.ParseCertificates(svid.Bundle)
	if err != nil {
		return nil, fmt.Errorf("meshca: the bundle: %w", err)
	}
	return &Identity{Certificate: certificateOf(chain, key), Roots: roots}, nil
}

func certificateOf(chain []*x509.Certificate, key crypto.PrivateKey) tls.Certificate {
	certificate := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, each := range chain {
		certificate.Certificate = append(certificate.Certificate, each.Raw)
	}
	return certificate
}

// FileSource reads svid.0.pem, svid.0.key and bundle.0.pem of a folder, as
// "meshca agent api fetch --write" writes them, again and again.
type FileSource struct {
	*held
	folder string
	cancel context.CancelFunc
	done   chan struct{}
	last   string
}

// NewFileSource reads the files once, and from then on every interval.
func NewFileSource(folder string, interval time.Duration) (*FileSource, error) {
	ctx, cancel := context.WithCancel(context.Background())
	source := &FileSource{held: newHeld(), folder: folder, cancel: cancel, done: make(chan struct{})}
	if err := source.read(); err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer close(source.done)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				// what was read before goes on counting while files are being replaced
				_ = source.read()
			}
		}
	}()
	return source, nil
}

func (s *FileSource) Close() error {
	s.cancel()
	<-s.done
	return nil
}

func (s *FileSource) read() error {
	var texts [3][]byte
	for index, name := range []string{"svid.0.pem", "svid.0.key", "bundle.0.pem"} {
		text, err := os.ReadFile(filepath.Join(s.folder, name))
		if err != nil {
			return err
		}
		texts[index] = text
	}
	all := string(texts[0]) + string(texts[1]) + string(texts[2])
	if all == s.last {
		return nil
	}
	// fails where key and certificate are of two different renewals
	certificate, err := tls.X509KeyPair(texts[0], texts[1])
	if err != nil {
		return fmt.Errorf("meshca: certificate and key in %s: %w", s.folder, err)
	}
	roots, err := certificatesOf(texts[2])
	if err != nil {
		return err
	}
	s.last = all
	s.set(&Identity{Certificate: certificate, Roots: roots})
	return nil
}

func certificatesOf(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("meshca: a root: %w", err)
		}
		all = append(all, certificate)
	}
	return all, nil
}
