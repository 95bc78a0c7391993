// Package meshca lets a control plane have certificates signed by meshca, and watch and confirm its
// trust bundle. It verifies the server by its SPIFFE ID and issuer, turns trailers into errors, and
// opens new connections when the certificate of the program was renewed.
package meshca

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"meshca/clients/go/signingpb"
)

type pkixExtension = pkix.Extension

// Config says whom to call, and as whom.
type Config struct {
	// Address of the server, host:port.
	Address string
	// TrustDomain of the server, without scheme.
	TrustDomain string
	Source      Source
	// IssuerFingerprints are the SHA-256 (hex) of the public keys of the server's issuing
	// authorities; upper case, colons and the prefix "sha256:" may stand in them. Empty: the issuer
	// must have the mark of such an authority.
	IssuerFingerprints []string
}

// Client calls the signing API. It is safe for concurrent use.
type Client struct {
	config Config
	stop   context.CancelFunc
	done   chan struct{}

	mutex   sync.Mutex
	present *connection
	closed  bool
}

// connection is one generation of the connection. It ends when a newer one has taken over and its
// calls are done.
type connection struct {
	conn  *grpc.ClientConn
	calls int
	// retired is closed when a newer connection has taken over.
	retired chan struct{}
}

// NewClient connects lazily, at the first call.
func NewClient(config Config) (*Client, error) {
	if config.Source == nil || config.Address == "" || config.TrustDomain == "" {
		return nil, errors.New("meshca: address, trust domain and source are needed")
	}
	fingerprints, err := normalFingerprints(config.IssuerFingerprints)
	if err != nil {
		return nil, err
	}
	config.IssuerFingerprints = fingerprints
	ctx, stop := context.WithCancel(context.Background())
	client := &Client{config: config, stop: stop, done: make(chan struct{})}
	changed := config.Source.Changed()
	if err := client.renew(); err != nil {
		stop()
		return nil, err
	}
	go client.follow(ctx, changed)
	return client, nil
}

// Close ends all calls.
func (c *Client) Close() error {
	c.stop()
	<-c.done
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.closed = true
	return c.present.conn.Close()
}

// follow opens a new connection after each renewal: the server ends one with its certificate.
func (c *Client) follow(ctx context.Context, changed <-chan struct{}) {
	defer close(c.done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			changed = c.config.Source.Changed()
			// without a new connection the old one goes on until its certificate ends
			_ = c.renew()
		}
	}
}

func (c *Client) renew() error {
	conn, err := grpc.NewClient("passthrough:///"+c.config.Address, grpc.WithTransportCredentials(c.credentials()))
	if err != nil {
		return err
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	before := c.present
	c.present = &connection{conn: conn, retired: make(chan struct{})}
	if before != nil {
		close(before.retired)
		before.closeIfDone()
	}
	return nil
}

func (c *connection) api() signingpb.SigningClient { return signingpb.NewSigningClient(c.conn) }

func (c *connection) closeIfDone() {
	select {
	case <-c.retired:
		if c.calls == 0 {
			_ = c.conn.Close()
		}
	default:
	}
}

// use gives the present connection until the returned function is called.
func (c *Client) use() (*connection, func(), error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.closed {
		return nil, nil, errors.New("meshca: the client is closed")
	}
	present := c.present
	present.calls++
	release := sync.OnceFunc(func() {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		present.calls--
		present.closeIfDone()
	})
	return present, release, nil
}

// credentials take identity and roots anew for each handshake.
func (c *Client) credentials() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		// the name says nothing: verifyServer checks chain, ID and issuer
		ServerName:             "localhost",
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			identity, err := c.config.Source.Identity()
			if err != nil {
				return nil, err
			}
			return &identity.Certificate, nil
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			identity, err := c.config.Source.Identity()
			if err != nil {
				return err
			}
			return verifyServer(state, identity.Roots, &c.config)
		},
	})
}

// Sign has one certificate signed.
func (c *Client) Sign(ctx context.Context, request *signingpb.SignRequest) (*signingpb.SignResponse, error) {
	return call(c, ctx, signingpb.SigningClient.Sign, request)
}

// SignBatch has up to 500 certificates signed. Each item has its own outcome; see RefusalOf.
func (c *Client) SignBatch(ctx context.Context, request *signingpb.SignBatchRequest) (*signingpb.SignBatchResponse, error) {
	return call(c, ctx, signingpb.SigningClient.SignBatch, request)
}

// Delegation tells what this program may have signed.
func (c *Client) Delegation(ctx context.Context) (*signingpb.DelegationView, error) {
	return call(c, ctx, signingpb.SigningClient.GetDelegation, &signingpb.GetDelegationRequest{})
}

// RefusalOf is the error of one item, or nil.
func RefusalOf(result *signingpb.SignResult) error {
	if refusal := result.GetRefusal(); refusal != nil {
		return refusalOf(refusal)
	}
	return nil
}

type method[Request, Response any] func(signingpb.SigningClient, context.Context, Request, ...grpc.CallOption) (Response, error)

func call[Request, Response any](c *Client, ctx context.Context, method method[Request, Response], request Request) (Response, error) {
	var none Response
	present, release, err := c.use()
	if err != nil {
		return none, err
	}
	defer release()
	var trailer metadata.MD
	response, err := method(present.api(), ctx, request, grpc.Trailer(&trailer))
	if err != nil {
		return none, errorOf(err, trailer)
	}
	return response, nil
}
