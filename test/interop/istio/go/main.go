// A workload's side of Istio: its own CA client and secret manager, as istio-agent builds them.
//
// Prints one JSON object a line. With -mode agent it obtains a certificate, verifies it, and renews
// it until its input ends; with -mode files it takes the certificate of a directory. With -mode raw it calls CreateCertificate once, with what istio-agent
// would not send.
package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	pb "istio.io/api/security/v1alpha1"
	istiogrpc "istio.io/istio/pilot/pkg/grpc"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/security"
	"istio.io/istio/security/pkg/credentialfetcher"
	"istio.io/istio/security/pkg/nodeagent/cache"
	"istio.io/istio/security/pkg/nodeagent/caclient/providers/citadel"
)

type line struct {
	Event   string   `json:"event"`
	Serial  string   `json:"serial,omitempty"`
	URIs    []string `json:"uris,omitempty"`
	KeyType string   `json:"keyType,omitempty"`
	Roots   int      `json:"roots,omitempty"`
	Chain   int      `json:"chain,omitempty"`
	Code    string   `json:"code,omitempty"`
	Error   string   `json:"error,omitempty"`
}

func say(said line) {
	text, err := json.Marshal(said)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

var codePattern = regexp.MustCompile(`rpc error: code = (\w+)`)

// The client wraps statuses into texts.
func refused(err error) line {
	code := "Unknown"
	if of, ok := status.FromError(err); ok {
		code = of.Code().String()
	}
	if found := codePattern.FindStringSubmatch(err.Error()); found != nil {
		code = found[1]
	}
	return line{Event: "refused", Code: code, Error: err.Error()}
}

type settings struct {
	endpoint, name, roots, token, id, algorithm, provCert, impersonate, second, files string
}

func main() {
	var s settings
	mode := flag.String("mode", "agent", "agent, files or raw")
	flag.StringVar(&s.endpoint, "endpoint", "", "HOST:PORT of the CA")
	flag.StringVar(&s.name, "name", "istiod.istio-system.svc", "the name that the CA must prove")
	flag.StringVar(&s.roots, "roots", "", "file with the roots")
	flag.StringVar(&s.token, "token", "", "file with the token")
	flag.StringVar(&s.id, "id", "", "SPIFFE ID of the workload")
	flag.StringVar(&s.algorithm, "algorithm", "", "empty: RSA; ECDSA")
	flag.StringVar(&s.provCert, "prov-cert", "", "directory with cert-chain.pem and key.pem")
	flag.StringVar(&s.impersonate, "impersonate", "", "raw: ImpersonatedIdentity")
	flag.StringVar(&s.second, "second", "", "raw: a second URI in the request")
	flag.StringVar(&s.files, "files", "", "files: directory with cert-chain.pem, key.pem and root-cert.pem")
	flag.Parse()
	quiet := log.DefaultOptions()
	quiet.OutputPaths = []string{"stderr"}
	_ = log.Configure(quiet)
	run := runAgent
	switch *mode {
	case "files":
		run = runFiles
	case "raw":
		run = runRaw
	}
	if err := run(s); err != nil {
		say(refused(err))
	}
}

func (s settings) options() (*security.Options, error) {
	id, err := url.Parse(s.id)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(id.Path, "/")
	if len(parts) != 5 {
		return nil, fmt.Errorf("%s is not /ns/NAMESPACE/sa/ACCOUNT", s.id)
	}
	fetcher, err := credentialfetcher.NewCredFetcher(security.JWT, id.Host, s.token, "")
	if err != nil {
		return nil, err
	}
	options := &security.Options{
		CAEndpoint: s.endpoint, CAEndpointSAN: s.name, CAProviderName: "Citadel",
		TrustDomain: id.Host, WorkloadNamespace: parts[2], ServiceAccount: parts[4],
		ClusterID: "Kubernetes", SecretTTL: 24 * time.Hour, WorkloadRSAKeySize: 2048,
		SecretRotationGracePeriodRatio: 0.5, SecretRotationGracePeriodRatioJitter: 0.01,
		ECCSigAlg: s.algorithm, ProvCert: s.provCert,
	}
	if fetcher != nil {
		options.CredFetcher = fetcher
	}
	return options, nil
}

func (s settings) tls() *citadel.TLSOptions {
	tls := &citadel.TLSOptions{RootCert: s.roots}
	if s.provCert != "" {
		tls.Cert, tls.Key = s.provCert+"/cert-chain.pem", s.provCert+"/key.pem"
	}
	return tls
}

func runAgent(s settings) error {
	options, err := s.options()
	if err != nil {
		return err
	}
	client, err := citadel.NewCitadelClient(options, s.tls())
	if err != nil {
		return err
	}
	manager, err := cache.NewSecretManagerClient(client, options)
	if err != nil {
		return err
	}
	return follow(manager, s.id)
}

// The certificate of a directory that somebody else writes, as istio-agent takes it where
// /var/run/secrets/workload-spiffe-credentials has these files.
func runFiles(s settings) error {
	manager, err := cache.NewSecretManagerClient(nil, &security.Options{
		FileMountedCerts:  true,
		CertChainFilePath: s.files + "/cert-chain.pem",
		KeyFilePath:       s.files + "/key.pem",
		RootCertFilePath:  s.files + "/root-cert.pem",
	})
	if err != nil {
		return err
	}
	return follow(manager, s.id)
}

// Obtains the certificate again whenever the secret manager would tell Envoy.
func follow(manager *cache.SecretManagerClient, id string) error {
	defer manager.Close()
	renewals := make(chan struct{}, 16)
	manager.RegisterSecretHandler(func(name string) {
		if name == security.WorkloadKeyCertResourceName {
			renewals <- struct{}{}
		}
	})
	if err := obtain(manager, id); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		}
		close(ended)
	}()
	for {
		select {
		case <-ended:
			return nil
		case <-renewals:
			if err := obtain(manager, id); err != nil {
				say(refused(err))
			}
		}
	}
}

// What Envoy would get, verified as its peer would.
func obtain(manager *cache.SecretManagerClient, id string) error {
	secret, err := manager.GenerateSecret(security.WorkloadKeyCertResourceName)
	if err != nil {
		return err
	}
	root, err := manager.GenerateSecret(security.RootCertReqResourceName)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root.RootCert) {
		return fmt.Errorf("ROOTCA has no certificate")
	}
	chain, err := certificates(secret.CertificateChain)
	if err != nil {
		return err
	}
	intermediates := x509.NewCertPool()
	for _, each := range chain[1:] {
		intermediates.AddCert(each)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := chain[0].Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage},
		}); err != nil {
			return err
		}
	}
	rootList, err := certificates(root.RootCert)
	if err != nil {
		return err
	}
	uris := []string{}
	for _, each := range chain[0].URIs {
		uris = append(uris, each.String())
	}
	if len(uris) != 1 || uris[0] != id {
		return fmt.Errorf("the certificate names %v, not %s", uris, id)
	}
	say(line{
		Event: "identity", Serial: fmt.Sprintf("%032x", chain[0].SerialNumber), URIs: uris,
		KeyType: chain[0].PublicKeyAlgorithm.String(), Roots: len(rootList), Chain: len(chain),
	})
	return nil
}

func certificates(text []byte) ([]*x509.Certificate, error) {
	found := []*x509.Certificate{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		found = append(found, certificate)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no certificate")
	}
	return found, nil
}

func runRaw(s settings) error {
	dial, err := istiogrpc.ClientOptions(nil, &istiogrpc.TLSOptions{
		RootCert: s.roots, ServerAddress: s.endpoint, SAN: s.name,
	})
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(s.endpoint, dial...)
	if err != nil {
		return err
	}
	defer connection.Close()
	csr, err := s.request()
	if err != nil {
		return err
	}
	token, err := os.ReadFile(s.token)
	if err != nil {
		return err
	}
	fields := map[string]*structpb.Value{}
	if s.impersonate != "" {
		fields["ImpersonatedIdentity"] = structpb.NewStringValue(s.impersonate)
	}
	outgoing := metadata.AppendToOutgoingContext(context.Background(),
		"authorization", "Bearer "+strings.TrimSpace(string(token)), "clusterid", "Kubernetes")
	response, err := pb.NewIstioCertificateServiceClient(connection).CreateCertificate(outgoing,
		&pb.IstioCertificateRequest{
			Csr: string(csr), ValidityDuration: 86400, Metadata: &structpb.Struct{Fields: fields},
		})
	if err != nil {
		return err
	}
	say(line{Event: "answer", Chain: len(response.CertChain)})
	return nil
}

func (s settings) request() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{}
	for _, text := range []string{s.id, s.second} {
		if text == "" {
			continue
		}
		uri, err := url.Parse(text)
		if err != nil {
			return nil, err
		}
		template.URIs = append(template.URIs, uri)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}
