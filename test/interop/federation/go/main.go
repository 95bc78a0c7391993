// Both ends of federation on go-spiffe.
//
//	federation fetch https_spiffe TRUST-DOMAIN URL BUNDLE-FILE ENDPOINT-ID
//	federation fetch https_web TRUST-DOMAIN URL CA-FILE
//	federation serve TRUST-DOMAIN BUNDLE-FILE CERT-FILE KEY-FILE
//
// fetch prints what it got as a line of JSON. serve prints its port, and serves until its standard input ends.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 5 && args[0] == "fetch":
		return fetch(args[1], args[2], args[3], args[4:])
	case len(args) == 5 && args[0] == "serve":
		return serve(args[1], args[2], args[3], args[4])
	}
	return errors.New("usage: see main.go")
}

func fetch(profile, name, url string, more []string) error {
	trustDomain, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return err
	}
	option, err := authentication(profile, trustDomain, more)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	bundle, err := federation.FetchBundle(ctx, trustDomain, url, option)
	if err != nil {
		return err
	}
	sequence, _ := bundle.SequenceNumber()
	hint, _ := bundle.RefreshHint()
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"sequence":    sequence,
		"hintSeconds": hint.Seconds(),
		"roots":       len(bundle.X509Authorities()),
		"jwtKeys":     len(bundle.JWTAuthorities()),
	})
}

func authentication(
	profile string,
	trustDomain spiffeid.TrustDomain,
	more []string,
) (federation.FetchOption, error) {
	if profile == "https_web" {
		pem, err := os.ReadFile(more[0])
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("no certificate in the file")
		}
		return federation.WithWebPKIRoots(pool), nil
	}
	if len(more) != 2 {
		return nil, errors.New("https_spiffe needs a bundle and an ID")
	}
	bundle, err := spiffebundle.Load(trustDomain, more[0])
	if err != nil {
		return nil, err
	}
	id, err := spiffeid.FromString(more[1])
	if err != nil {
		return nil, err
	}
	return federation.WithSPIFFEAuth(bundle, id), nil
}

func load(name, bundleFile string) (spiffeid.TrustDomain, *spiffebundle.Bundle, error) {
	trustDomain, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return trustDomain, nil, err
	}
	bundle, err := spiffebundle.Load(trustDomain, bundleFile)
	return trustDomain, bundle, err
}

func serve(name, bundleFile, certFile, keyFile string) error {
	trustDomain, bundle, err := load(name, bundleFile)
	if err != nil {
		return err
	}
	handler, err := federation.NewHandler(trustDomain, bundle)
	if err != nil {
		return err
	}
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return err
	}
	return listen(handler, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
}

func listen(handler http.Handler, config *tls.Config) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         config,
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return server.ServeTLS(listener, "", "")
}
