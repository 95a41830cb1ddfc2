// Command mosn is the proxy MOSN with the parts that a gateway of Sluice needs: HTTP, routing, and its client of the aggregated
// discovery service (state of the world). Its argument is the address of the xDS server. MOSN's own command cannot be built: it
// needs a filter (seata) whose modules are no longer available.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3" // registers its type
	"github.com/urfave/cli"
	"mosn.io/mosn/istio/istio1106"
	_ "mosn.io/mosn/istio/istio1106/xds" // the discovery client
	v2 "mosn.io/mosn/pkg/config/v2"
	_ "mosn.io/mosn/pkg/filter/network/connectionmanager"
	_ "mosn.io/mosn/pkg/filter/network/proxy"
	"mosn.io/mosn/pkg/mosn"
	_ "mosn.io/mosn/pkg/network"
	_ "mosn.io/mosn/pkg/protocol"
	_ "mosn.io/mosn/pkg/router"
	"mosn.io/mosn/pkg/stagemanager"
	_ "mosn.io/mosn/pkg/stream/http"
	_ "mosn.io/mosn/pkg/stream/http2"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "mosn: give the address of the xDS server, host:port")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mosn:", err)
		os.Exit(1)
	}
}

// run proxies until SIGTERM. Files go to the working directory.
func run(server string) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	config, err := configuration(server, dir)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "mosn.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	arguments := cli.NewContext(cli.NewApp(), flag.NewFlagSet("mosn", flag.ContinueOnError), nil)
	stages := stagemanager.InitStageManager(arguments, file, mosn.NewMosn())
	stages.AppendInitStage(func(c *v2.MOSNConfig) { istio1106.InitXdsInfo(c, "gateway", "mosn-1", nil, nil) })
	stages.AppendInitStage(mosn.DefaultInitStage)
	stages.AppendPreStartStage(mosn.DefaultPreStartStage)
	stages.AppendStartStage(mosn.DefaultStartStage)
	stages.RunAll()
	return nil
}

type object map[string]any

// configuration only names the server, which sends everything else.
func configuration(server, dir string) ([]byte, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	endpoint := object{"endpoint": object{"address": object{"socket_address": object{"address": host, "port_value": number}}}}
	return json.Marshal(object{
		"pid": filepath.Join(dir, "mosn.pid"),
		"servers": []object{{
			"default_log_path": "stdout", "default_log_level": "INFO", "mosn_server_name": "mosn", "routers": []object{},
			"listeners": []object{},
		}},
		"node": object{"id": "mosn-1", "cluster": "gateway"},
		"dynamic_resources": object{"ads_config": object{
			"api_type": "GRPC", "transport_api_version": "V3", "refresh_delay": object{"seconds": 1},
			"grpc_services": []object{{"envoy_grpc": object{"cluster_name": "sluice"}}},
		}},
		"static_resources": object{"clusters": []object{{
			"name": "sluice", "type": "STATIC", "connect_timeout": "1s", "lb_policy": "RANDOM",
			"load_assignment": object{"cluster_name": "sluice", "endpoints": []object{{"lb_endpoints": []object{endpoint}}}},
		}}},
	})
}
