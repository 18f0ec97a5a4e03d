"""The keys of LLaMA-Factory's recipes, by what becomes of them here (as of its commit ff6d4d1 and transformers 5)."""

from __future__ import annotations

from typing import Any


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


USED = _words(
    "model_name_or_path stage finetuning_type do_train dataset dataset_dir max_samples cutoff_len mix_strategy "
    "interleave_probs per_device_train_batch_size gradient_accumulation_steps learning_rate num_train_epochs seed "
    "lora_rank lora_alpha use_rslora use_dora pissa_init loraplus_lr_ratio freeze_trainable_layers quantization_bit "
    "double_quantization val_size early_stopping_steps"
)
PREFERENCE = _words("pref_beta pref_loss")  # used where the stage is dpo

# Keys that change nothing here, with the reason where one is worth reading.
NEEDLESS = dict.fromkeys(
    _words(
        "output_dir overwrite_output_dir logging_dir logging_steps logging_strategy logging_first_step log_level "
        "log_level_replica log_on_each_node logging_nan_inf_filter disable_tqdm report_to run_name project plot_loss "
        "print_param_status include_effective_tokens_per_second include_num_input_tokens_seen skip_memory_metrics "
        "save_steps save_strategy save_total_limit save_only_model save_safetensors save_on_each_node "
        "resume_from_checkpoint ignore_data_skip load_best_model_at_end metric_for_best_model greater_is_better "
        "eval_strategy evaluation_strategy eval_steps eval_delay eval_on_start per_device_eval_batch_size do_eval "
        "eval_accumulation_steps prediction_loss_only compute_accuracy eval_on_each_dataset ddp_timeout "
        "ddp_find_unused_parameters ddp_bucket_cap_mb ddp_backend local_rank "
        "use_cpu preprocessing_num_workers preprocessing_batch_size dataloader_num_workers dataloader_pin_memory "
        "dataloader_persistent_workers dataloader_prefetch_factor remove_unused_columns data_seed group_by_length "
        "overwrite_cache tokenized_path data_shared_file_system streaming buffer_size packing neat_packing "
        "trust_remote_code cache_dir use_fast_tokenizer low_cpu_mem_usage model_revision hf_hub_token ms_hub_token "
        "om_hub_token flash_attn use_unsloth use_unsloth_gc enable_liger_kernel use_liger_kernel use_v1_kernels "
        "disable_gradient_checkpointing gradient_checkpointing gradient_checkpointing_kwargs use_reentrant_gc "
        "upcast_layernorm upcast_lmhead_output use_kv_cache use_cache bf16 fp16 pure_bf16 tf32 bf16_full_eval "
        "fp16_full_eval torch_compile full_determinism ignore_pad_token_for_loss template enable_thinking "
        "preserve_thinking tool_format quantization_type quantization_device_map pissa_iter loraplus_lr_embedding "
        "media_dir image_max_pixels image_min_pixels video_max_pixels video_min_pixels video_fps video_maxlen "
        "freeze_vision_tower freeze_multi_modal_projector freeze_language_model infer_backend infer_dtype "
        "do_sample temperature top_p top_k num_beams eval_num_beams max_length max_new_tokens repetition_penalty "
        "length_penalty skip_special_tokens warmup_ratio warmup_steps adam_beta2"
    ),
    "",
)
NEEDLESS |= {
    "adam_beta2": "AdamW has the betas 0.9 and 0.95 here",
    "template": "conversations are written by the chat template that ships with the model",
    "trust_remote_code": "code that ships with a model is never run",
    "resume_from_checkpoint": "a stopped run goes on from its newest checkpoint by itself",
    "bf16": "the number format is the model's, in bfloat16 where the machine computes it natively",
    "packing": "sequences are always packed, and never see each other",
    "warmup_ratio": "the warm-up is 5 % of the steps here, then a cosine down to 10 %",
    "warmup_steps": "the warm-up is 5 % of the steps here, then a cosine down to 10 %",
}
# Keys of ways that are not here, with the values that leave them off (None and False always do).
ELSEWHERE: dict[str, tuple[Any, ...]] = dict.fromkeys(
    _words(
        "adapter_name_or_path adapter_folder resize_vocab add_tokens add_special_tokens new_special_tokens_config "
        "rope_scaling shift_attn mixture_of_depths moe_aux_loss_coef train_from_scratch split_special_tokens "
        "additional_target pissa_convert create_new_adapter freeze_extra_modules use_galore use_apollo use_badam "
        "use_adam_mini use_muon use_llama_pro use_mca use_megatron_bridge megatron_bridge_args use_hyper_parallel "
        "hyper_parallel_args use_dft_loss use_asft_loss use_eaft_loss use_swanlab use_kt deepspeed fsdp fsdp_config "
        "parallelism_config train_on_prompt mask_history eval_dataset default_system neftune_noise_alpha "
        "disable_shuffling do_predict predict_with_generate push_to_hub fp8 auto_find_batch_size "
        "lr_scheduler_kwargs ref_model reward_model enable_torch_profiler ray_init_kwargs optim_args "
        "optim_target_modules use_audio_in_video block_diag_attn device_map model_max_length"
    ),
    (),
)
ELSEWHERE |= {
    "lora_target": ("all",),
    "lora_dropout": (0,),
    "freeze_trainable_modules": ("all",),
    "quantization_method": ("bnb", "bitsandbytes"),
    "lr_scheduler_type": ("cosine",),
    "optim": ("adamw_torch", "adamw_torch_fused", "adamw_hf"),
    "weight_decay": (0,),
    "adam_beta1": (0.9,),
    "adam_epsilon": (1e-8,),
    "max_grad_norm": (1,),
    "label_smoothing_factor": (0,),
    "max_steps": (-1, 0),
    "init_special_tokens": ("noise_init",),
    "hyper_parallel_cp_size": (1,),
    "ray_num_workers": (1,),
}
# Keys that belong to one of the ways above and mean nothing while it is off.
FAMILIES = _words(
    "galore_ apollo_ badam_ swanlab_ vllm_ sglang_ kt_ export_ ppo_ pref_ dpo_ kto_ simpo_ ld_alpha oft_ ref_model_ "
    "reward_model_ asft_alpha eaft_alpha fp8_ profiler_ profile_ ray_ hub_ fsdp_ module_dropout"
)
