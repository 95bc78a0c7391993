// A workload on go-spiffe. README.md of the folder above says what it prints and reads.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

var output sync.Mutex

func say(event string, fields map[string]any) {
	output.Lock()
	defer output.Unlock()
	fields["event"] = event
	line, _ := json.Marshal(fields)
	fmt.Println(string(line))
}

// watcher prints each update. The library reconnects by itself after an error.
type watcher struct{}

func (watcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	svid := update.DefaultSVID()
	bundle, err := update.Bundles.GetX509BundleForTrustDomain(svid.ID.TrustDomain())
	if err != nil {
		return
	}
	roots := []string{}
	for _, root := range bundle.X509Authorities() {
		digest := sha256.Sum256(root.Raw)
		roots = append(roots, hex.EncodeToString(digest[:]))
	}
	sort.Strings(roots)
	foreign := []string{}
	for _, other := range update.Bundles.Bundles() {
		if other.TrustDomain() != svid.ID.TrustDomain() {
			foreign = append(foreign, other.TrustDomain().Name())
		}
	}
	sort.Strings(foreign)
	say("identity", map[string]any{
		"spiffeId": svid.ID.String(),
		"serial":   svid.Certificates[0].SerialNumber.Text(16),
		"roots":    roots,
		"foreign":  foreign,
	})
}

func (watcher) OnX509ContextWatchError(err error) {
	fmt.Fprintln(os.Stderr, "watch:", err)
}

func serve(source *workloadapi.X509Source) (int, error) {
	config := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeAny())
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		return 0, err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go answer(connection)
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func answer(connection net.Conn) {
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(time.Minute))
	if _, err := bufio.NewReader(connection).ReadString('\n'); err == nil {
		fmt.Fprintln(connection, "hello")
	}
}

func dial(source *workloadapi.X509Source, port string) (string, error) {
	config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeAny())
	dialer := &net.Dialer{Timeout: time.Minute}
	connection, err := tls.DialWithDialer(dialer, "tcp", "127.0.0.1:"+port, config)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintln(connection, "hello")
	if _, err := bufio.NewReader(connection).ReadString('\n'); err != nil {
		return "", err
	}
	certificates := connection.ConnectionState().PeerCertificates
	if len(certificates) == 0 || len(certificates[0].URIs) != 1 {
		return "", errors.New("the peer has no SPIFFE ID")
	}
	id, err := spiffeid.FromURI(certificates[0].URIs[0])
	return id.String(), err
}

func jwt(ctx context.Context, client *workloadapi.Client, audience string) (string, error) {
	svid, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return "", err
	}
	valid, err := client.ValidateJWTSVID(ctx, svid.Marshal(), audience)
	if err != nil {
		return "", err
	}
	return valid.ID.String(), nil
}

func token(ctx context.Context, client *workloadapi.Client, audience string) (string, error) {
	svid, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return "", err
	}
	return svid.Marshal(), nil
}

// validate asks the agent, and then decides by the bundles that the agent gives: both must agree.
func validate(ctx context.Context, client *workloadapi.Client, argument string) (string, error) {
	audience, token, _ := strings.Cut(argument, " ")
	byAgent, err := client.ValidateJWTSVID(ctx, token, audience)
	if err != nil {
		return "", err
	}
	bundles, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return "", err
	}
	here, err := jwtsvid.ParseAndValidate(token, bundles, []string{audience})
	if err != nil {
		return "", err
	}
	if here.ID != byAgent.ID {
		return "", fmt.Errorf("%s, and by the agent %s", here.ID, byAgent.ID)
	}
	return here.ID.String(), nil
}

// fetchBundle takes a bundle from its endpoint: TRUST-DOMAIN URL web PEM-FILE, or
// TRUST-DOMAIN URL spiffe ENDPOINT-ID BUNDLE-FILE.
func fetchBundle(ctx context.Context, argument string) (string, error) {
	words := strings.Fields(argument)
	if len(words) < 4 {
		return "", errors.New("too few words")
	}
	trustDomain, err := spiffeid.TrustDomainFromString(words[0])
	if err != nil {
		return "", err
	}
	var profile federation.FetchOption
	if words[2] == "web" {
		pem, err := os.ReadFile(words[3])
		if err != nil {
			return "", err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		profile = federation.WithWebPKIRoots(roots)
	} else {
		id, err := spiffeid.FromString(words[3])
		if err != nil {
			return "", err
		}
		known, err := spiffebundle.Load(trustDomain, words[4])
		if err != nil {
			return "", err
		}
		profile = federation.WithSPIFFEAuth(known.X509Bundle(), id)
	}
	bundle, err := federation.FetchBundle(ctx, trustDomain, words[1], profile)
	if err != nil {
		return "", err
	}
	sequence, _ := bundle.SequenceNumber()
	hint, _ := bundle.RefreshHint()
	return fmt.Sprintf("%s sequence %d hint %d roots %d keys %d", bundle.TrustDomain().Name(), sequence,
		int(hint.Seconds()), len(bundle.X509Authorities()), len(bundle.JWTAuthorities())), nil
}

func result(event, key, value string, err error, fields map[string]any) {
	if err != nil {
		fields["error"] = err.Error()
	} else {
		fields[key] = value
	}
	say(event, fields)
}

func run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	go func() { _ = client.WatchX509Context(ctx, watcher{}) }()
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClient(client))
	if err != nil {
		return err
	}
	defer source.Close()
	port, err := serve(source)
	if err != nil {
		return err
	}
	say("ready", map[string]any{"port": port})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 0, 64*1024), 64*1024)
	for lines.Scan() {
		command, argument, _ := strings.Cut(lines.Text(), " ")
		switch command {
		case "dial":
			peer, err := dial(source, argument)
			result("dialed", "peer", peer, err, map[string]any{"port": argument})
		case "jwt":
			subject, err := jwt(ctx, client, argument)
			result("jwt", "subject", subject, err, map[string]any{})
		case "token":
			text, err := token(ctx, client, argument)
			result("token", "token", text, err, map[string]any{})
		case "validate":
			subject, err := validate(ctx, client, argument)
			result("validated", "subject", subject, err, map[string]any{})
		case "bundle":
			text, err := fetchBundle(ctx, argument)
			result("bundle", "bundle", text, err, map[string]any{})
		}
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
