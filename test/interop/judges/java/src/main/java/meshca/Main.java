package meshca;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStreamReader;
import java.security.KeyStore;
import java.security.cert.CertPathValidator;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Base64;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

/**
 * Verifies chains with the PKIX validator of the JDK. README.md of the folder above says what it
 * reads and prints.
 */
public final class Main {
  private static final String SERVER = "1.3.6.1.5.5.7.3.1";
  private static final String CLIENT = "1.3.6.1.5.5.7.3.2";

  private static X509Certificate certificate(JsonElement text) throws Exception {
    byte[] der = Base64.getDecoder().decode(text.getAsString());
    return (X509Certificate)
        CertificateFactory.getInstance("X.509")
            .generateCertificate(new ByteArrayInputStream(der));
  }

  /** The leaf is looked up where it says, in one way alone. */
  private static Set<PKIXRevocationChecker.Option> options(JsonObject asked) {
    Set<PKIXRevocationChecker.Option> options =
        EnumSet.of(
            PKIXRevocationChecker.Option.ONLY_END_ENTITY,
            PKIXRevocationChecker.Option.NO_FALLBACK);
    if (asked.get("revocation").getAsString().equals("crl")) {
      options.add(PKIXRevocationChecker.Option.PREFER_CRLS);
    }
    if (asked.has("soft") && asked.get("soft").getAsBoolean()) {
      options.add(PKIXRevocationChecker.Option.SOFT_FAIL);
    }
    return options;
  }

  /** As a TLS client of the JDK does: a chain may go on behind a trusted key. */
  private static void askTrustManager(List<X509Certificate> chain, X509Certificate root)
      throws Exception {
    KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
    trusted.load(null, null);
    trusted.setCertificateEntry("root", root);
    TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
    factory.init(trusted);
    ((X509TrustManager) factory.getTrustManagers()[0])
        .checkServerTrusted(chain.toArray(new X509Certificate[0]), "UNKNOWN");
  }

  private static void verify(JsonObject asked) throws Exception {
    List<X509Certificate> chain = new ArrayList<>();
    for (JsonElement each : asked.getAsJsonArray("chain")) chain.add(certificate(each));
    X509Certificate root = certificate(asked.get("root"));
    if (asked.has("trustManager")) {
      askTrustManager(chain, root);
      return;
    }
    PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(root, null)));
    CertPathValidator validator = CertPathValidator.getInstance("PKIX");
    parameters.setRevocationEnabled(false);
    if (asked.has("revocation")) {
      PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
      checker.setOptions(options(asked));
      parameters.addCertPathChecker(checker);
    }
    validator.validate(CertificateFactory.getInstance("X.509").generateCertPath(chain), parameters);
    String usage = asked.get("purpose").getAsString().equals("client") ? CLIENT : SERVER;
    if (!chain.get(0).getExtendedKeyUsage().contains(usage)) {
      throw new IllegalStateException("the leaf is not for this purpose");
    }
  }

  public static void main(String[] arguments) throws Exception {
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      JsonObject asked = JsonParser.parseString(line).getAsJsonObject();
      JsonObject verdict = new JsonObject();
      verdict.add("name", asked.get("name"));
      try {
        verify(asked);
        verdict.addProperty("accepted", true);
      } catch (Exception error) {
        verdict.addProperty("accepted", false);
        verdict.addProperty("why", error.toString());
      }
      System.out.println(new Gson().toJson(verdict));
    }
  }
}
