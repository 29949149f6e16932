{{- define "container" -}}
image: "{{ .Values.defaultAirflowRepository }}:{{ .Values.defaultAirflowTag }}"
env: {{- toYaml .Values.env | nindent 2 }}
volumeMounts: {{- toYaml .Values.volumeMounts | nindent 2 }}
{{- end }}
