package peers

import (
	_ "sluice.dev/sluice/dataplane/queueproxy"
	_ "knative.dev/serving/pkg/activator/handler"
	_ "knative.dev/serving/pkg/activator/net"
)
