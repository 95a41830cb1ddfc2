package servingv1

import corev1 "k8s.io/api/core/v1"

// Volume is a directory that containers mount; exactly one source is set.
//
// +kubebuilder:validation:MinProperties=2
// +kubebuilder:validation:MaxProperties=2
type Volume struct {
	// name that mounts refer to.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`
	// configMap has a file per entry.
	// +optional
	ConfigMap *corev1.ConfigMapVolumeSource `json:"configMap,omitempty"`
	// secret has a file per entry.
	// +optional
	Secret *corev1.SecretVolumeSource `json:"secret,omitempty"`
	// projected puts several sources into one directory.
	// +optional
	Projected *ProjectedVolumeSource `json:"projected,omitempty"`
	// emptyDir is empty at first and removed with the replica.
	// +optional
	EmptyDir *corev1.EmptyDirVolumeSource `json:"emptyDir,omitempty"`
}

// ProjectedVolumeSource puts several sources into one directory.
type ProjectedVolumeSource struct {
	// sources in the directory.
	// +optional
	Sources []VolumeProjection `json:"sources,omitempty"`
	// defaultMode of the files.
	// +optional
	DefaultMode *int32 `json:"defaultMode,omitempty"`
}

// VolumeProjection is one source of a projected volume.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=1
type VolumeProjection struct {
	// secret has a file per entry.
	// +optional
	Secret *corev1.SecretProjection `json:"secret,omitempty"`
	// configMap has a file per entry.
	// +optional
	ConfigMap *corev1.ConfigMapProjection `json:"configMap,omitempty"`
	// downwardAPI has fields of the pod.
	// +optional
	DownwardAPI *corev1.DownwardAPIProjection `json:"downwardAPI,omitempty"`
	// serviceAccountToken is a token for an audience.
	// +optional
	ServiceAccountToken *corev1.ServiceAccountTokenProjection `json:"serviceAccountToken,omitempty"`
}
