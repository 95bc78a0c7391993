// A control plane in miniature. It watches the bundle and confirms it, and has one certificate signed
// for each line of its input: a SPIFFE ID. It writes a line of JSON for all that it does.
//
//	controlplane -server ca.mesh.example.org:8443 -trust-domain mesh.example.org -instance pod-0
//
// It takes its own certificate from the agent of SPIFFE_ENDPOINT_SOCKET.
package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"os"
	"os/signal"
	"sync"

	meshca "meshca/clients/go"
	"meshca/clients/go/signingpb"
)

var output sync.Mutex

func say(fields map[string]any) {
	output.Lock()
	defer output.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(fields); err != nil {
		log.Fatal(err)
	}
}

func main() {
	server := flag.String("server", "", "address of the server")
	trustDomain := flag.String("trust-domain", "", "its trust domain")
	instance := flag.String("instance", "", "name of this process")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	source, err := meshca.NewWorkloadSource(ctx, os.Getenv("SPIFFE_ENDPOINT_SOCKET"))
	if err != nil {
		log.Fatal(err)
	}
	defer source.Close()
	client, err := meshca.NewClient(meshca.Config{Address: *server, TrustDomain: *trustDomain, Source: source})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	go watch(ctx, client, *instance)
	sign(ctx, client)
}

func watch(ctx context.Context, client *meshca.Client, instance string) {
	_ = client.Watch(ctx, meshca.WatchOptions{
		Instance: instance,
		Apply: func(_ context.Context, bundle meshca.Bundle) (meshca.Holdings, error) {
			// a real control plane hands the roots to its proxies here, before it confirms
			say(map[string]any{"event": "bundle", "roots": len(bundle.Trust.RootsDer), "sequence": bundle.Trust.Sequence, "renewOwn": bundle.RenewNow.OwnCertificate})
			return meshca.Holdings{}, nil
		},
		OnError: func(err error) { say(map[string]any{"event": "watch-ended", "error": err.Error()}) },
	})
}

// sign reads SPIFFE IDs until the input ends. The requests share one stream.
func sign(ctx context.Context, client *meshca.Client) {
	var stream *meshca.SignStream
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		request, err := requestFor(lines.Text())
		if err != nil {
			log.Fatal(err)
		}
		outcome, err := signOn(ctx, client, &stream, request)
		var refused *meshca.Error
		switch {
		case err == nil:
			say(map[string]any{"event": "signed", "spiffeId": outcome.SVID.SpiffeId, "serial": outcome.SVID.Serial, "roots": len(outcome.Roots)})
		case errors.As(err, &refused):
			say(map[string]any{"event": "refused", "code": refused.Code, "refusalId": refused.RefusalID})
		default:
			say(map[string]any{"event": "failed", "error": err.Error()})
		}
	}
	if stream != nil {
		_ = stream.Close()
	}
}

// signOn opens the stream again if it has ended, and repeats the same request.
func signOn(ctx context.Context, client *meshca.Client, stream **meshca.SignStream, request *signingpb.SignRequest) (meshca.Outcome, error) {
	for attempt := 0; ; attempt++ {
		if *stream == nil {
			opened, err := client.SignStream(ctx)
			if err != nil {
				return meshca.Outcome{}, err
			}
			*stream = opened
		}
		outcome, err := (*stream).Sign(ctx, request)
		if err == nil || outcome.Err != nil && (*stream).Err() == nil || attempt == 2 {
			return outcome, err
		}
		*stream = nil
	}
}

func requestFor(spiffeID string) (*signingpb.SignRequest, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	return &signingpb.SignRequest{RequestId: rand.Text(), SpiffeId: spiffeID, CsrDer: csr}, nil
}
