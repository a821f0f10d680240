"""How a Titans decoder's weights are spread over a mesh of devices."""

import keras

from keras_titans.validation import check_choice


def titans_layout_map(device_mesh, model_axis, data_axis):
    """A `keras.distribution.LayoutMap`; see `TitansBackbone.get_layout_map`."""
    for name, axis in (
        ("model_parallel_dim_name", model_axis),
        ("data_parallel_dim_name", data_axis),
    ):
        check_choice(name, axis, device_mesh.axis_names)
    wide = (data_axis, model_axis)
    narrow = wide[::-1]
    layout_map = keras.distribution.LayoutMap(device_mesh)
    for path, axes in (
        (r"token_embedding/embeddings", narrow),
        (r"token_embedding/reverse_embeddings", wide),
        (r"transformer_layer.*/(query|key|value|output_gate)/kernel", wide),
        (r"transformer_layer.*/output/kernel", narrow),
        (r"transformer_layer.*/initial_memory_\d+", wide),
        (r"transformer_layer.*/mlp_(gate|up)/kernel", wide),
        (r"transformer_layer.*/mlp_down/kernel", narrow),
    ):
        layout_map[path] = axes
    return layout_map
