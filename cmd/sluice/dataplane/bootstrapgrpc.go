package dataplane

import (
	"encoding/json"
	"fmt"

	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/contract"
)

// reread is how often gRPC clients read the files of their certificate again.
const reread = "60s"

// grpcBootstrap returns what a proxyless gRPC client starts with, in the form of gRFC A27: the text of the file that GRPC_XDS_BOOTSTRAP
// names, or of GRPC_XDS_BOOTSTRAP_CONFIG. A gRPC client checks the server's certificate for the host of its address, so the options may
// have no server name.
func grpcBootstrap(server transport.DialOptions, node, zone string) ([]byte, error) {
	if server.ServerName != "" {
		return nil, fmt.Errorf("gRPC clients cannot ask for another name than that of --xds: leave out --xds-server-name %s, and name that "+
			"host in --xds", server.ServerName)
	}
	type credentials struct {
		Type   string            `json:"type"`
		Config map[string]string `json:"config,omitempty"`
	}
	creds := credentials{Type: "insecure"}
	if server.CA != "" {
		creds = credentials{Type: "tls", Config: map[string]string{"ca_certificate_file": server.CA, "refresh_interval": reread}}
		if server.Cert != "" {
			creds.Config["certificate_file"], creds.Config["private_key_file"] = server.Cert, server.Key
		}
	}
	text, err := json.MarshalIndent(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri": server.Address, "channel_creds": []credentials{creds}, "server_features": []string{"xds_v3"},
		}},
		"node": map[string]any{"id": node, "cluster": contract.Mesh, "locality": map[string]string{"zone": zone}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the bootstrap of a gRPC client: %w", err)
	}
	return append(text, '\n'), nil
}
