import java.io.FileInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;

/**
 * Serves TLS with the only key of a key store: java KeyStoreServer.java TYPE FILE PASSWORD_FILE. Prints
 * its port, and ends after one connection.
 */
public class KeyStoreServer {
  public static void main(String[] args) throws Exception {
    char[] password = Files.readString(Path.of(args[2])).strip().toCharArray();
    KeyStore store = KeyStore.getInstance(args[0]);
    try (FileInputStream file = new FileInputStream(args[1])) {
      store.load(file, password);
    }
    if (store.size() != 1 || !store.isKeyEntry(store.aliases().nextElement())) {
      throw new IllegalStateException("the store has not exactly one key");
    }
    KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
    keys.init(store, password);
    SSLContext context = SSLContext.getInstance("TLSv1.3");
    context.init(keys.getKeyManagers(), null, null);
    try (SSLServerSocket server = (SSLServerSocket) context.getServerSocketFactory().createServerSocket(0)) {
      System.out.println(server.getLocalPort());
      try (SSLSocket connection = (SSLSocket) server.accept()) {
        connection.getOutputStream().write("hello".getBytes());
      }
    }
  }
}
