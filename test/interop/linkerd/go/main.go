// A client with the shape of Linkerd's proxy: TLS 1.3 without ALPN, HTTP/2, one P-256 key and one
// CSR for its life, anchors that are fixed, and its certificate presented when it renews.
//
// Prints one JSON object a line. It renews after 70 % of what remains until its input ends; with
// -once it calls once.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/protobuf/encoding/protowire"
)

var (
	address    = flag.String("address", "", "host:port of the server")
	serverName = flag.String("server-name", "", "LINKERD2_PROXY_IDENTITY_SVC_NAME")
	anchors    = flag.String("anchors", "", "PEM file of LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS")
	identity   = flag.String("identity", "", "LINKERD2_PROXY_IDENTITY_LOCAL_NAME")
	tokenFile  = flag.String("token-file", "", "LINKERD2_PROXY_IDENTITY_TOKEN_FILE")
	refresh    = flag.Duration("min-refresh", 10*time.Second, "LINKERD2_PROXY_IDENTITY_MIN_REFRESH")
	once       = flag.Bool("once", false, "call once")
	ask        = flag.String("ask", "", "ask for this identity instead")
	dnsNames   = flag.String("dns-names", "", "the DNS names of the CSR instead, with commas")
	uri        = flag.String("uri", "", "a URI in the CSR, which no proxy sends")
)

type line struct {
	Event  string   `json:"event"`
	Serial string   `json:"serial,omitempty"`
	Names  []string `json:"names,omitempty"`
	Chain  []string `json:"chain,omitempty"`
	Status string   `json:"status,omitempty"`
	Code   string   `json:"code,omitempty"`
	Error  string   `json:"error,omitempty"`
}

func say(said line) {
	text, err := json.Marshal(said)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

type refusal struct{ status, code, message string }

func (r refusal) Error() string { return r.message }

type certified struct {
	chain [][]byte
	leaf  *x509.Certificate
	until time.Time
}

type proxy struct {
	key   *ecdsa.PrivateKey
	csr   []byte
	roots *x509.CertPool
	held  *certified
}

func start() (*proxy, error) {
	pem, err := os.ReadFile(*anchors)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no anchor")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	names := []string{*identity}
	if *dnsNames != "" {
		names = strings.Split(*dnsNames, ",")
	}
	template := x509.CertificateRequest{Subject: pkix.Name{CommonName: *identity}, DNSNames: names}
	if *uri != "" {
		parsed, err := url.Parse(*uri)
		if err != nil {
			return nil, err
		}
		template.URIs = []*url.URL{parsed}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		return nil, err
	}
	return &proxy{key: key, csr: csr, roots: roots}, nil
}

func (p *proxy) tlsConfig() *tls.Config {
	config := &tls.Config{
		ServerName: *serverName,
		RootCAs:    p.roots,
		MinVersion: tls.VersionTLS13,
	}
	if p.held != nil {
		config.Certificates = []tls.Certificate{{Certificate: p.held.chain, PrivateKey: p.key}}
	}
	return config
}

func (p *proxy) certify() (*certified, error) {
	token, err := os.ReadFile(*tokenFile)
	if err != nil {
		return nil, err
	}
	asked := *identity
	if *ask != "" {
		asked = *ask
	}
	var request []byte
	for number, value := range [][]byte{[]byte(asked), token, p.csr} {
		request = protowire.AppendTag(request, protowire.Number(number+1), protowire.BytesType)
		request = protowire.AppendBytes(request, value)
	}
	answer, err := p.call(request)
	if err != nil {
		return nil, err
	}
	return p.verified(answer)
}

func (p *proxy) call(request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	transport := &http2.Transport{
		DialTLSContext: func(ctx context.Context, network, _ string, _ *tls.Config) (net.Conn, error) {
			dialer := tls.Dialer{Config: p.tlsConfig()}
			return dialer.DialContext(ctx, network, *address)
		},
	}
	defer transport.CloseIdleConnections()
	frame := make([]byte, 5, 5+len(request))
	binary.BigEndian.PutUint32(frame[1:], uint32(len(request)))
	call, err := http.NewRequestWithContext(ctx, http.MethodPost,
		"https://"+*serverName+"/io.linkerd.proxy.identity.Identity/Certify",
		bytes.NewReader(append(frame, request...)))
	if err != nil {
		return nil, err
	}
	call.Header.Set("content-type", "application/grpc")
	call.Header.Set("te", "trailers")
	response, err := transport.RoundTrip(call)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	trailers := response.Trailer
	if trailers.Get("grpc-status") == "" {
		trailers = response.Header
	}
	if status := trailers.Get("grpc-status"); status != "0" {
		return nil, refusal{status, trailers.Get("meshca-code"), trailers.Get("grpc-message")}
	}
	if len(body) < 5 {
		return nil, errors.New("no answer")
	}
	return body[5:], nil
}

// As the proxy does: the chain against its own anchors, its name, its key, and an end in the future.
func (p *proxy) verified(answer []byte) (*certified, error) {
	var leafDER []byte
	var between [][]byte
	var until time.Time
	for len(answer) > 0 {
		number, kind, length := protowire.ConsumeTag(answer)
		if length < 0 || kind != protowire.BytesType {
			return nil, errors.New("the answer is malformed")
		}
		value, size := protowire.ConsumeBytes(answer[length:])
		if size < 0 {
			return nil, errors.New("the answer is malformed")
		}
		answer = answer[length+size:]
		switch number {
		case 1:
			leafDER = value
		case 2:
			between = append(between, value)
		case 3:
			_, _, tag := protowire.ConsumeTag(value)
			seconds, _ := protowire.ConsumeVarint(value[tag:])
			until = time.Unix(int64(seconds), 0)
		}
	}
	leaf, err := x509.ParseCertificate(leafDER)
	if err != nil {
		return nil, err
	}
	if !p.key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("the certificate is for another key")
	}
	intermediates := x509.NewCertPool()
	for _, der := range between {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		intermediates.AddCert(certificate)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := leaf.Verify(x509.VerifyOptions{
			DNSName:       *identity,
			Roots:         p.roots,
			Intermediates: intermediates,
			KeyUsages:     []x509.ExtKeyUsage{usage},
		})
		if err != nil {
			return nil, err
		}
	}
	if !until.After(time.Now()) {
		return nil, errors.New("valid_until is not in the future")
	}
	return &certified{chain: append([][]byte{leafDER}, between...), leaf: leaf, until: until}, nil
}

func (p *proxy) attempt() {
	held, err := p.certify()
	var refused refusal
	switch {
	case errors.As(err, &refused):
		say(line{Event: "refused", Status: refused.status, Code: refused.code, Error: refused.message})
	case err != nil:
		say(line{Event: "failed", Error: err.Error()})
	default:
		p.held = held
		said := line{Event: "certified", Serial: fmt.Sprintf("%x", held.leaf.SerialNumber), Names: held.leaf.DNSNames}
		for _, der := range held.chain {
			said.Chain = append(said.Chain, base64.StdEncoding.EncodeToString(der))
		}
		say(said)
	}
}

func (p *proxy) pause() time.Duration {
	if p.held == nil {
		return *refresh
	}
	pause := time.Until(p.held.until) * 7 / 10
	return min(max(pause, *refresh), 24*time.Hour)
}

func main() {
	flag.Parse()
	p, err := start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	p.attempt()
	if *once {
		return
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for {
		select {
		case <-ended:
			return
		case <-time.After(p.pause()):
			p.attempt()
		}
	}
}
