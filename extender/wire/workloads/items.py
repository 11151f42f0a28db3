"""The members of items: one class for each itemized parameter that has some.

No member is required by the schema: the item `DEFAULTS` of a policy has only some of them. Those marked Mandatory must
be there in the result.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from extender.wire.resources.parts import Part
from extender.wire.workloads.types import (
    Effect,
    Flag,
    Integer,
    Mandatory,
    Operator,
    Quantity,
    ServiceType,
    Text,
    Texts,
)


class Port(Part):
    """A port of the container, and how it is reached."""

    container: Annotated[Integer, Mandatory()] | None = Field(
        None, description="The port that the container listens on, 1 to 65535."
    )
    external: Integer | None = Field(
        None,
        description=(
            "The port that others connect to: of the Service, and with service type NodePort the port of every "
            "node. When it is absent, it is the container's port; of nodes Kubernetes chooses one."
        ),
    )
    auto_generate: Flag | None = Field(
        None, description="When true, Kubernetes chooses the port of the nodes, and external says that of the Service."
    )
    service_type: ServiceType | None = Field(
        None, description="How this port is reached. When it is absent, the parameter serviceType counts."
    )
    tool_type: Text | None = Field(None, description="What listens there, for example jupyter; it is for display.")
    tool_name: Text | None = Field(None, description="What to call it when it is displayed.")


class ExposedUrl(Part):
    """A port of the container that has a URL."""

    container: Annotated[Integer, Mandatory()] | None = Field(
        None, description="The port that the container listens on, 1 to 65535."
    )
    url: Text | None = Field(
        None,
        description=(
            "The URL, for example https://notebook.example.com/me. When it is absent, it is the path "
            "/<project>-<job> at the cluster's ingress."
        ),
    )
    tool_type: Text | None = Field(None, description="What listens there, for example jupyter; it is for display.")
    tool_name: Text | None = Field(None, description="What to call it when it is displayed.")


class Volume(Part):
    """A folder of the node or of an NFS server."""

    source_path: Annotated[Text, Mandatory()] | None = Field(
        None, description="The path on the node, or on the NFS server when nfsServer names one."
    )
    target_path: Annotated[Text, Mandatory()] | None = Field(None, description="Where it is mounted in the container.")
    read_only: Flag | None = Field(None, description="When true, the container cannot write to it.")
    nfs_server: Text | None = Field(None, description="The NFS server that has the folder.")


class Claim(Part):
    """A PersistentVolumeClaim, an existing one or one that is made for the workload."""

    claim_name: Text | None = Field(
        None, description="The name of the claim. A new claim without a name is called pvc-<job>-<number>."
    )
    existing_pvc: Flag | None = Field(
        None, description="When true, the claim exists already; else it is made with the workload."
    )
    path: Annotated[Text, Mandatory()] | None = Field(None, description="Where it is mounted in the container.")
    read_only: Flag | None = Field(None, description="When true, the container cannot write to it.")
    size: Quantity | None = Field(None, description='The size of a new claim, for example "10Gi".')
    storage_class: Text | None = Field(
        None, description="The StorageClass of a new claim. When it is absent, the cluster's default one counts."
    )
    access_modes: Texts | None = Field(
        None,
        description="The access modes of a new claim: ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod.",
    )
    ephemeral: Flag | None = Field(
        None, description="When true, the data live as long as the pod: each pod gets a new claim."
    )
    volume_mode: Text | None = Field(None, description="Filesystem, which is the default, or Block.")


class Bucket(Part):
    """A bucket of an S3 service whose objects are copied to the container before it starts."""

    bucket: Annotated[Text, Mandatory()] | None = Field(None, description="The name of the bucket.")
    access_key_id: Text | None = Field(
        None, description="The key to read it with, best as SECRET:<name>,<key> of a Secret of the namespace."
    )
    secret: Text | None = Field(None, description="The secret that belongs to the key, best as SECRET:<name>,<key>.")
    url: Text | None = Field(None, description="The URL of the service. When it is absent: https://s3.amazon.com.")
    target: Annotated[Text, Mandatory()] | None = Field(None, description="Where the objects are in the container.")


class GitRepository(Part):
    """A git repository that is checked out before the container starts."""

    source: Annotated[Text, Mandatory()] | None = Field(None, description="The URL of the repository.")
    branch: Text | None = Field(None, description="The branch; master when neither it nor revision is given.")
    revision: Text | None = Field(None, description="The commit or tag, which wins over branch.")
    username: Text | None = Field(None, description="The user to read it as, plain or as SECRET:<name>,<key>.")
    password: Text | None = Field(
        None,
        description=(
            "The password, best as SECRET:<name>,<key> of a Secret of the namespace. A plain one is kept in a "
            "Secret that is made for the workload, but can be read in this resource."
        ),
    )
    target: Text | None = Field(None, description="Where it is in the container; /code when it is absent.")
    image: Text | None = Field(None, description="The image that checks it out, when not the administrator's.")


class Toleration(Part):
    """A taint of nodes that the pods tolerate."""

    name: Text | None = Field(None, description="What to call it; it has no effect.")
    operator: Operator | None = Field(None, description="Equal, which compares the value, or Exists, which does not.")
    key: Text | None = Field(None, description="The key of the taint. When it is absent, with Exists, all match.")
    value: Text | None = Field(None, description="The value of the taint.")
    effect: Effect | None = Field(None, description="NoSchedule, PreferNoSchedule or NoExecute; all when it is absent.")
    seconds: Integer | None = Field(
        None, description="How long a NoExecute taint is tolerated; for ever when it is absent."
    )


class ExtendedResource(Part):
    """An amount of a resource beside CPU, memory and GPUs."""

    resource: Text | None = Field(
        None, description="The name of the resource, for example rdma/hca. When it is absent, it is the item's label."
    )
    quantity: Annotated[Quantity, Mandatory()] | None = Field(None, description="The amount.")


class MountedObject(Part):
    """A ConfigMap or a Secret of the namespace that is mounted as files."""

    name: Annotated[Text, Mandatory()] | None = Field(None, description="The name of the object.")
    mount_path: Annotated[Text, Mandatory()] | None = Field(None, description="Where it is mounted in the container.")


class EmptyFolder(Part):
    """A folder that lives as long as the pod."""

    path: Annotated[Text, Mandatory()] | None = Field(None, description="Where it is mounted in the container.")
