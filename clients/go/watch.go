package meshca

import (
	"context"
	"errors"
	"io"

	"meshca/clients/go/signingpb"
)

// Bundle is the whole present state of a watch.
type Bundle struct {
	Trust    *signingpb.TrustSet
	CRLs     *signingpb.CrlSet
	Taints   *signingpb.TaintSet
	RenewNow *signingpb.RenewNow
}

// Holdings is what this program tells of those whom it serves. It reports its own roots by itself.
type Holdings struct {
	Consumers       []*signingpb.WatchConsumer
	NamesAllHolders bool
	ReplacedSerials []string
}

// WatchOptions are those of one process of the control plane.
type WatchOptions struct {
	// Instance is the name of this process, the same after a restart: of its pod or host.
	Instance string
	Version  string
	// WithoutCRLs: it checks none.
	WithoutCRLs bool
	// WithoutJWT: it verifies no JWT-SVIDs, so that no rotation of their keys waits for it.
	WithoutJWT bool
	// Apply puts a bundle into use. Only when it returns without error is the bundle confirmed: then
	// new authorities may sign. With an error the stream is opened again.
	Apply func(ctx context.Context, bundle Bundle) (Holdings, error)
	// OnError is told why a stream ended. It may be nil.
	OnError func(err error)
}

// Watch follows the bundle until the context ends, over new connections when the certificate was
// renewed, and confirms what was applied.
func (c *Client) Watch(ctx context.Context, options WatchOptions) error {
	if options.Apply == nil {
		return errors.New("meshca: Apply is needed")
	}
	for wait := newBackoff(); ctx.Err() == nil; {
		renewed, err := c.watchOnce(ctx, options, wait)
		if ctx.Err() != nil {
			break
		}
		if renewed {
			continue
		}
		if options.OnError != nil {
			options.OnError(err)
		}
		wait.sleep(ctx)
	}
	return ctx.Err()
}

func (c *Client) watchOnce(ctx context.Context, options WatchOptions, wait *backoff) (renewed bool, err error) {
	present, release, err := c.use()
	if err != nil {
		return false, err
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := present.api().WatchBundle(ctx)
	if err != nil {
		return false, errorOf(err, nil)
	}
	go func() {
		select {
		case <-present.retired:
			cancel(errRenewed)
		case <-ctx.Done():
		}
	}()
	hello := &signingpb.WatchHello{Instance: options.Instance, Version: options.Version, WithoutCrls: options.WithoutCRLs}
	message := &signingpb.WatchBundleRequest{Message: &signingpb.WatchBundleRequest_Hello{Hello: hello}}
	if err = send(stream, message); err == nil {
		err = follow(ctx, stream, options, wait)
	}
	return errors.Is(context.Cause(ctx), errRenewed), err
}

var errRenewed = errors.New("meshca: the certificate of this program was renewed")

func follow(ctx context.Context, stream signingpb.Signing_WatchBundleClient, options WatchOptions, wait *backoff) error {
	var bundle Bundle
	for {
		message, err := stream.Recv()
		if err != nil {
			return errorOf(err, stream.Trailer())
		}
		wait.reset()
		bundle.merge(message)
		holdings, err := options.Apply(ctx, bundle)
		if err != nil {
			return err
		}
		report := reportOf(bundle, holdings, options.WithoutJWT)
		if err = send(stream, &signingpb.WatchBundleRequest{Message: &signingpb.WatchBundleRequest_Report{Report: report}}); err != nil {
			return err
		}
	}
}

// send tells why the stream has ended, where it has: Send says io.EOF alone, and the trailers are
// there only after Recv has returned an error.
func send(stream signingpb.Signing_WatchBundleClient, message *signingpb.WatchBundleRequest) error {
	err := stream.Send(message)
	if !errors.Is(err, io.EOF) {
		return errorOf(err, nil)
	}
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	return errorOf(err, stream.Trailer())
}

func (b *Bundle) merge(message *signingpb.WatchBundleResponse) {
	if message.Trust != nil {
		b.Trust = message.Trust
	}
	if message.Crls != nil {
		b.CRLs = message.Crls
	}
	if message.Taints != nil {
		b.Taints = message.Taints
	}
	if message.RenewNow != nil {
		b.RenewNow = message.RenewNow
	}
}

func reportOf(bundle Bundle, holdings Holdings, withoutJWT bool) *signingpb.WatchReport {
	report := &signingpb.WatchReport{
		AuthoritySetDigest: SetDigest(bundle.Trust.GetRootsDer()),
		Consumers:          holdings.Consumers,
		NamesAllHolders:    holdings.NamesAllHolders,
		ReplacedSerials:    holdings.ReplacedSerials,
	}
	if !withoutJWT {
		keys := make([][]byte, 0, len(bundle.Trust.GetJwtKeys()))
		for _, key := range bundle.Trust.GetJwtKeys() {
			keys = append(keys, key.SpkiDer)
		}
		report.JwtSetDigest = SetDigest(keys)
	}
	return report
}
