// Command acme-clients plays a client of ACME with one of two libraries:
//
//	acme-clients acmez|x DIRECTORY issue CHALLENGE NAME...
//	acme-clients acmez|x DIRECTORY renew CHALLENGE
//	acme-clients acmez|x DIRECTORY window | revoke | revoke-by-key | change-key
//	acme-clients manifest < FILE
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"
)

type library interface {
	issue(ctx context.Context, challenge string, names []string, replaces bool) error
	window(ctx context.Context) (start, end time.Time, err error)
	revoke(ctx context.Context, byKey bool) error
	changeKey(ctx context.Context) error
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 1 && arguments[0] == "manifest" {
		return manifest()
	}
	if len(arguments) < 3 {
		return fmt.Errorf("usage: acme-clients acmez|x DIRECTORY ACT ...")
	}
	roots := x509.NewCertPool()
	text, err := os.ReadFile(required("ACME_CA"))
	if err != nil {
		return err
	}
	roots.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	s := state(arguments[1])
	made := map[string]func(state, http.RoundTripper) library{"acmez": newAcmez, "x": newX}[arguments[0]]
	if made == nil {
		return fmt.Errorf("unknown library %s", arguments[0])
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return act(ctx, made(s, transport), s, arguments[2:])
}

func act(ctx context.Context, client library, s state, arguments []string) error {
	switch arguments[0] {
	case "issue":
		return client.issue(ctx, arguments[1], arguments[2:], false)
	case "renew":
		start, _, err := client.window(ctx)
		if err != nil {
			return err
		}
		if time.Now().Before(start) {
			return fmt.Errorf("the window begins at %s", start.Format(time.RFC3339))
		}
		certificate, err := s.certificate()
		if err != nil {
			return err
		}
		return client.issue(ctx, arguments[1], namesOf(certificate), true)
	case "window":
		start, end, err := client.window(ctx)
		if err == nil {
			fmt.Println(start.Unix(), end.Unix())
		}
		return err
	case "revoke", "revoke-by-key":
		return client.revoke(ctx, arguments[0] == "revoke-by-key")
	case "change-key":
		return client.changeKey(ctx)
	default:
		return fmt.Errorf("unknown act %s", arguments[0])
	}
}
