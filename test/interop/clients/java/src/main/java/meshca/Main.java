package meshca;

import io.spiffe.bundle.x509bundle.X509Bundle;
import io.spiffe.provider.SpiffeSslContextFactory;
import io.spiffe.provider.SpiffeSslContextFactory.SslContextOptions;
import io.spiffe.svid.jwtsvid.JwtSvid;
import io.spiffe.svid.x509svid.X509Svid;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.DefaultX509Source;
import io.spiffe.workloadapi.Watcher;
import io.spiffe.workloadapi.WorkloadApiClient;
import io.spiffe.workloadapi.X509Context;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.security.MessageDigest;
import java.security.cert.X509Certificate;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Collectors;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;

/** A workload on java-spiffe. README.md of the folder above says what it prints and reads. */
public final class Main {
  private static synchronized void say(String event, String fields) {
    System.out.println("{\"event\":\"" + event + "\"," + fields + "}");
  }

  private static String field(String name, String text) {
    String escaped = text.replaceAll("[^ -~]|[\"\\\\]", "?");
    return "\"" + name + "\":\"" + escaped + "\"";
  }

  private static String digest(X509Certificate root) {
    try {
      byte[] sum = MessageDigest.getInstance("SHA-256").digest(root.getEncoded());
      return "\"" + HexFormat.of().formatHex(sum) + "\"";
    } catch (Exception error) {
      throw new IllegalStateException(error);
    }
  }

  private static void report(X509Context update) {
    try {
      X509Svid svid = update.getDefaultSvid();
      X509Bundle bundle =
          update.getX509BundleSet().getBundleForTrustDomain(svid.getSpiffeId().getTrustDomain());
      String roots =
          bundle.getX509Authorities().stream()
              .map(Main::digest)
              .sorted()
              .collect(Collectors.joining(","));
      String serial = svid.getLeaf().getSerialNumber().toString(16);
      say(
          "identity",
          field("spiffeId", svid.getSpiffeId().toString())
              + ","
              + field("serial", serial)
              + ",\"roots\":["
              + roots
              + "]");
    } catch (Exception error) {
      error.printStackTrace();
    }
  }

  private static SSLContext context(DefaultX509Source source) throws Exception {
    return SpiffeSslContextFactory.getSslContext(
        SslContextOptions.builder()
            .x509Source(source)
            .sslProtocol("TLSv1.3")
            .acceptAnySpiffeId()
            .build());
  }

  private static BufferedReader reader(SSLSocket socket) throws IOException {
    return new BufferedReader(new InputStreamReader(socket.getInputStream()));
  }

  private static void answer(SSLSocket socket) {
    try (socket) {
      reader(socket).readLine();
      socket.getOutputStream().write("hello\n".getBytes());
      socket.getOutputStream().flush();
    } catch (IOException error) {
      System.err.println("server: " + error);
    }
  }

  private static int serve(SSLContext tls) throws IOException {
    SSLServerSocket server =
        (SSLServerSocket)
            tls.getServerSocketFactory()
                .createServerSocket(0, 50, java.net.InetAddress.getByName("127.0.0.1"));
    server.setNeedClientAuth(true);
    Thread accept =
        new Thread(
            () -> {
              while (true) {
                try {
                  SSLSocket socket = (SSLSocket) server.accept();
                  new Thread(() -> answer(socket)).start();
                } catch (IOException error) {
                  return;
                }
              }
            });
    accept.setDaemon(true);
    accept.start();
    return server.getLocalPort();
  }

  private static String dial(DefaultX509Source source, int port) throws Exception {
    // a context of its own: a session of an earlier connection is not resumed
    try (SSLSocket socket =
        (SSLSocket) context(source).getSocketFactory().createSocket("127.0.0.1", port)) {
      socket.getOutputStream().write("hello\n".getBytes());
      socket.getOutputStream().flush();
      if (reader(socket).readLine() == null) throw new IOException("closed without an answer");
      X509Certificate leaf = (X509Certificate) socket.getSession().getPeerCertificates()[0];
      for (List<?> name : leaf.getSubjectAlternativeNames()) {
        if (name.get(0).equals(6)) return (String) name.get(1);
      }
      throw new IOException("the peer has no SPIFFE ID");
    }
  }

  private static String jwt(WorkloadApiClient client, String audience) throws Exception {
    JwtSvid svid = client.fetchJwtSvid(audience);
    return client.validateJwtSvid(svid.getToken(), audience).getSpiffeId().toString();
  }

  private static void run(
      String line, DefaultX509Source source, WorkloadApiClient client) {
    String[] words = line.split(" ");
    String key = words[0].equals("dial") ? field("port", words[1]) + "," : "";
    String event = words[0].equals("dial") ? "dialed" : "jwt";
    try {
      String value =
          words[0].equals("dial")
              ? field("peer", dial(source, Integer.parseInt(words[1])))
              : field("subject", jwt(client, words[1]));
      say(event, key + value);
    } catch (Exception error) {
      say(event, key + field("error", error.toString()));
    }
  }

  public static void main(String[] arguments) throws Exception {
    WorkloadApiClient client = DefaultWorkloadApiClient.newClient();
    client.watchX509Context(
        new Watcher<>() {
          @Override
          public void onUpdate(X509Context update) {
            report(update);
          }

          @Override
          public void onError(Throwable error) {
            System.err.println("watch: " + error);
          }
        });
    DefaultX509Source source = DefaultX509Source.newSource();
    say("ready", "\"port\":" + serve(context(source)));
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      run(line.trim(), source, client);
    }
    System.exit(0);
  }
}
